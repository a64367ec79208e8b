"""Who leads: elections, leadership transfers, priorities."""
