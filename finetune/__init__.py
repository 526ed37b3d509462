"""Head to network: fine-tune the top of a backbone, starting from a fitted head."""
