"""The addresses of members: which may be in a configuration, and where a node dials its peers."""
