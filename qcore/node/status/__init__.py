"""What a node reports of itself: status, the metrics object, the metrics page, the state hash."""
