"""Client sessions, by which a retried command takes effect once: the table, its text in snapshots, its ticks."""
