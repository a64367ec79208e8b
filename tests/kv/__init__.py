"""Tests of `qcore.kv`."""
