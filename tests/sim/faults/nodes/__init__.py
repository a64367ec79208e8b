"""Faults of single nodes: crash loops, slow processors, clock jumps, and disks that fail or rot."""
