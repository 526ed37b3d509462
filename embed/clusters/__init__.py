"""Who works besides this process: processes here, or the workers of Dask or Ray."""
