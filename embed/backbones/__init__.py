"""Pre-trained networks, a file a family."""
