"""`qcore demo`, and the node processes that it starts."""
