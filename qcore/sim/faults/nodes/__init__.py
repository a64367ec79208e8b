"""Faults of single nodes: processes that stop or slow down, and disks and clocks that fail."""
