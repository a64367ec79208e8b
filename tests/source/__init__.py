"""Tests of the source code itself: its shape, words and imports."""
