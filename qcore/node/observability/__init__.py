"""What a node reports about itself: log lines, metrics, status and trace."""
