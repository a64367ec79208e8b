"""Tests of commands against servers that do not answer like a node."""
