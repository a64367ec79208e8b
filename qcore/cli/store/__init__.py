"""The commands of the entity store: entities, types, watches, and topology files."""
