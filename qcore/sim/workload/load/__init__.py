"""The shape of the load over time."""
