"""Tests of `qcore new`."""
