"""Replicated state machines: the public protocol, the entity store, and a key-value machine."""
