"""Test suites for state machines and storages that users write. They need the development dependencies."""
