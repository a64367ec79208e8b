"""Checkers of sets and append-only lists."""
