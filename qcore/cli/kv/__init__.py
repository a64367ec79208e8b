"""The commands of the key-value machine."""
