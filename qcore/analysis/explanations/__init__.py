"""Explains elections and operations of a course in sentences."""
