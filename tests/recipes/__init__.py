"""Tests of `qcore.recipes`."""
