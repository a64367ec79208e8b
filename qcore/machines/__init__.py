"""State machines: their interface, the entity store, the key-value machine, and the loader of custom machines."""
