"""Data sets of any size that are made up, and what commands cost on them."""
