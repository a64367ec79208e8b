"""Tests of the views: `ConfigWatch` and `ServiceRegistry`."""
