"""Client programs in the simulator."""
