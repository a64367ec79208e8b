"""Faults of the simulated network."""
