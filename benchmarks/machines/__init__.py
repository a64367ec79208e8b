"""How the cost of a simulation grows."""
