"""`qcore doctor`."""
