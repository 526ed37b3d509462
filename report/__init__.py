"""Runs and findings to one HTML page that needs no server: what there is, and what to do next."""
