"""Executes the requests, each in a transaction."""
