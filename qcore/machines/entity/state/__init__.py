"""The state of the entity store: entities, types, values, and their snapshot."""
