"""Benchmarks of traces."""
