"""Client programs: the context that they get, how they run against real nodes, and what the simulator replaces."""
