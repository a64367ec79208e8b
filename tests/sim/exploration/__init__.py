"""Tests of the exploration of small clusters."""
