"""Watches on the entity store: what changed, and what a client asked for."""
