"""Conformance suites for the state machines and storages that users write. They need the development dependencies."""
