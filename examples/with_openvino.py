"""Classify photos with ``tlx export RUN --format openvino``, without tlx.

pip install openvino pillow numpy
python with_openvino.py FOLDER PHOTO...
"""

import sys

import openvino
from photo import pixels, read_predictor, say

folder, *photos = sys.argv[1:]
predictor, path = read_predictor(folder)
exact = {"INFERENCE_PRECISION_HINT": "f32"}  # else half precision, where the processor has it
model = openvino.Core().compile_model(path, "CPU", exact)
for photo in photos:
    say(photo, predictor, model(pixels(photo, predictor))[0])
