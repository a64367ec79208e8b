"""What a timeline does to the simulated cluster."""
