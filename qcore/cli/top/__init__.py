"""`qcore top`: a cluster in the terminal, renewed every second."""
