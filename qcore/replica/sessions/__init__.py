"""Client sessions: a retried command takes effect once."""
