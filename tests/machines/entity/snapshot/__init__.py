"""Snapshots of the whole state over the wire."""
