"""`Queue`: work that programs hand to other programs, each item until it is acknowledged."""
