"""Simulated clients and what they ask."""
