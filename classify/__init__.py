"""Features to classifiers: heads, honest evaluation, comparison, and the runs they leave."""
