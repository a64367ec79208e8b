"""`qcore new`: writes the beginning of a project."""
