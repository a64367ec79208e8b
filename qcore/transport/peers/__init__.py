"""The outgoing connections of a node: one persistent connection to each peer."""
