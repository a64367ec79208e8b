"""`qcore node start` and its options."""
