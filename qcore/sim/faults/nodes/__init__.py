"""Faults of single nodes: crash loops, and what fails or changes on their disks."""
