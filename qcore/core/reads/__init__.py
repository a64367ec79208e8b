"""Reads without log entries: read index, leases, bounded staleness."""
