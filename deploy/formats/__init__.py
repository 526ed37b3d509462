"""Formats that a network is written in, one file each; `format.py` is their contract."""
