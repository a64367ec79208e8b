"""Test suites that a user's own implementation can run. They need the development dependencies."""
