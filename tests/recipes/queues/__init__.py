"""Tests of `qcore.recipes.Queue`."""
