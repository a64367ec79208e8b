"""Tests of `qcore.replica.divergence`: who differs, what a diverged node does, and how it is repaired."""
