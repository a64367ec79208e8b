"""Judges a run: the monitor that watches it, its expectations, lost writes, stale reads and metrics."""
