"""Passwords and tokens of users: pure functions, without I/O."""
