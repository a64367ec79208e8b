"""Which nodes this one accepts as peers."""
