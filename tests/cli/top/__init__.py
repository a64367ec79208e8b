"""`qcore top`."""
