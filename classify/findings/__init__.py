"""What is wrong with images and labels: one file a kind of finding, and what they all look at."""
