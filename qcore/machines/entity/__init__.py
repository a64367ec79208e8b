"""The entity store: a typed tree of entities as a state machine."""
