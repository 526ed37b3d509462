"""Classify photos with ``tlx export RUN --format onnx``, without tlx.

pip install onnxruntime pillow numpy
python with_onnx.py FOLDER PHOTO...
"""

import sys

import onnxruntime
from photo import pixels, read_predictor, say

folder, *photos = sys.argv[1:]
predictor, path = read_predictor(folder)
session = onnxruntime.InferenceSession(path)
for photo in photos:
    (probabilities,) = session.run(None, {predictor["input"]["name"]: pixels(photo, predictor)})
    say(photo, predictor, probabilities)
