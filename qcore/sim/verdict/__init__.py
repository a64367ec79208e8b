"""Judges a run: expectations, lost writes, stale reads, metrics."""
