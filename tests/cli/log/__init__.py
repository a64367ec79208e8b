"""Tests of `qcore log`."""
