"""Scheduled backups."""
