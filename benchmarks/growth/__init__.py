"""How the figures change as something grows: the log, the entities, the connections, the nodes, the values."""
