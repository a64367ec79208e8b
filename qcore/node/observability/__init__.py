"""What a node shows of itself: logs, metrics, traces."""
