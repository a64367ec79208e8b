"""Benchmarks of watches."""
