"""Benchmarks of the clients of one node: connections and watches."""
