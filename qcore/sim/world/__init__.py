"""The simulated cluster: its clock, its network, its random streams, and its nodes (`node`)."""
