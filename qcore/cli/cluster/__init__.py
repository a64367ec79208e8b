"""Commands that send admin requests to a running cluster."""
