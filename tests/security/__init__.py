"""Tests of `qcore.security`."""
