"""Checks that a running node repeats, and logs: the states of all members, priorities, wall clocks, its removal."""
