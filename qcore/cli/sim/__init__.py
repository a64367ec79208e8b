"""`qcore sim`: commands that run and list scenarios."""
