"""Classify photos with ``tlx export RUN --format savedmodel``, without tlx.

pip install tensorflow pillow
python with_savedmodel.py FOLDER PHOTO...
"""

import sys

import tensorflow as tf
from photo import pixels, read_predictor, say

folder, *photos = sys.argv[1:]
predictor, path = read_predictor(folder)
model = tf.saved_model.load(path)
for photo in photos:
    said = model.serve(tf.constant(pixels(photo, predictor)))
    say(photo, predictor, said[predictor["output"]["name"]].numpy())
