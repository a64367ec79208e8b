"""Client programs: the context that they get, and how they run against real nodes."""
