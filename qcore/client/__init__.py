"""The client library: one object for a whole cluster."""
