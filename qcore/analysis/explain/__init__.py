"""Explains elections and operations in sentences."""
