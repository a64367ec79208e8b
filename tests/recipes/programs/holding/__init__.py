"""Client programs of recipes that a holder has: locks, permits, the leadership."""
