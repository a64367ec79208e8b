"""Which server leads: elections, leadership transfers, priorities."""
