"""Checks, repairs and recovery of data directories."""
