"""`qcore doctor`: what is wrong with a computer, a configuration or nodes, and what to change."""
