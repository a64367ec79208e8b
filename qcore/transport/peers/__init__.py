"""Persistent connections to the other members."""
