"""How the states of a small cluster are searched."""
