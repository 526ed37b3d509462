"""What tlx claims of its numbers, a file a topic: see honesty.py, which finds them here."""
