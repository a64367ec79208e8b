"""Handles the messages of the entity store at a node."""
