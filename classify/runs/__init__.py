"""What is kept of a head: its numbers, its predictions and its files."""
