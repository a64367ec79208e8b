"""Reads the files of a data directory without SQLite, also those of a running node."""
