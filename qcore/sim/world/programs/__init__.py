"""Client programs in the simulator: their event loop, their connections, and the node's end of these."""
