"""Committed entries become state, in bounded steps, under the active version."""
