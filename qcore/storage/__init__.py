"""Durable log and snapshots: SQLite, memory, and the interface that both implement.

A real node uses `SqliteStorage.open(data_dir, node_id)`. Tests and volatile nodes use `MemoryStorage(node_id)`.
`GroupCommitWriter` writes from an event loop. Test a custom storage with `qcore.testing.storage_conformance`.
Import from the modules: this package imports nothing, so a user of the interface does not load SQLite.
"""
