"""Applies committed entries to the state, in bounded steps, by the rules of the active version."""
