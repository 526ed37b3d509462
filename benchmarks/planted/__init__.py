"""Faults planted in a folder of photos, one file a topic."""
