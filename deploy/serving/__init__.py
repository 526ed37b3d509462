"""A run as a server: a page for people, an API for programs."""
