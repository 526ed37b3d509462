"""Classify photos with ``tlx export RUN --format keras``, without tlx.

pip install tensorflow pillow
python with_keras.py FOLDER PHOTO...
"""

import sys

import keras
from photo import pixels, read_predictor, say

folder, *photos = sys.argv[1:]
predictor, path = read_predictor(folder)
model = keras.models.load_model(path)
for photo in photos:
    say(photo, predictor, model.predict(pixels(photo, predictor), verbose=0))
