"""Simulated computers: each has an event loop, clocks, names, and a TCP whose segments cross the simulated network."""
