"""Client sessions, which make a retried command take effect once: the table, its text in snapshots, its ticks."""
