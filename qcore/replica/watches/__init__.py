"""Watches: clients that receive what the commands change."""
