"""`qcore demo`, and the real processes that it starts."""
