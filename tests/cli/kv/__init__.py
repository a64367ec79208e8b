"""Tests of `qcore kv`."""
