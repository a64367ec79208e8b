"""Spans of the requests of a client, for a tracing system."""
