"""Tests of `qcore.recipes.RunOnce`."""
