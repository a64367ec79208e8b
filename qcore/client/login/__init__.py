"""Proves the user of a client to nodes."""
