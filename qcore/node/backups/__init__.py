"""Scheduled backups: snapshot files that one node of the cluster writes at an interval."""
