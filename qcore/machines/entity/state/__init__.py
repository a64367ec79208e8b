"""What the entity store holds: entities, types, values, and their snapshot."""
