"""The programs of `examples/coordination/`, run as real processes against one real node."""
