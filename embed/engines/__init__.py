"""What runs a network: uint8 batches to features."""
