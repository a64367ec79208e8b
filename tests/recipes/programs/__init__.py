"""Client programs that use one recipe each, for the simulator and for real processes."""
