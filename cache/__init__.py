"""Features on disk: immutable HDF5 shards, and the manifest of a data set."""
