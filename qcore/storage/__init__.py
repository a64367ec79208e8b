"""Durable log and snapshots: SQLite, memory, and the interface that both implement."""
