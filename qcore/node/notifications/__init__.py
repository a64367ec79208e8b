"""Watches of clients at a node: their requests, and the notifications that they receive."""
