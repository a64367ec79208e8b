"""Benchmarks of the run viewer: the size of its page, and the time to make and open it."""
