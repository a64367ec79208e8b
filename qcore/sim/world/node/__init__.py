"""One simulated node: its process, disk, clock, state machine and connections."""
