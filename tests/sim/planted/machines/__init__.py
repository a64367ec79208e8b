"""Faulty state machines, each found by a check, and honest ones, which no check blames."""
