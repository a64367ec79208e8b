"""State machines: the interface for users' machines, the entity store, and a key-value machine."""
