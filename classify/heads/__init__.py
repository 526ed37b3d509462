"""Heads: classifiers over embeddings, a file each."""
