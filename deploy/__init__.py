"""A run leaves: one network, many formats, each proven equal before it is kept."""
