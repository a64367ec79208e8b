"""What a node reports about itself: log lines, metrics, its status and the trace."""
