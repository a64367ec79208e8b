"""Tests of the key-value machine."""
