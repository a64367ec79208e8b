"""Checks of a data directory, which change nothing."""
