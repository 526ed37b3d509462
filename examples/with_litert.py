"""Classify photos with ``tlx export RUN --format litert``, without tlx and TensorFlow.

pip install ai-edge-litert pillow numpy
python with_litert.py FOLDER PHOTO...
"""

import sys

from ai_edge_litert.interpreter import Interpreter
from photo import pixels, read_predictor, say

folder, *photos = sys.argv[1:]
predictor, path = read_predictor(folder)
model = Interpreter(path).get_signature_runner()
for photo in photos:
    said = model(**{predictor["input"]["name"]: pixels(photo, predictor)})
    say(photo, predictor, said[predictor["output"]["name"]])
