"""Durable log and snapshots: SQLite, memory, and the interface that both implement.

`SqliteStorage.open(data_dir, node_id)` for a real node, `MemoryStorage(node_id)` for tests and
volatile nodes, `GroupCommitWriter` to write from an event loop. A third storage proves itself with
`qcore.testing.storage_conformance`. Import from the modules: this package imports nothing, so
that a user of the interface does not pay for SQLite.
"""
