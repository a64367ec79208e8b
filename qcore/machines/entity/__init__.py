"""The entity store, a typed tree of entities: the state machine, its requests and its errors."""
