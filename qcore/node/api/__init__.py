"""What a node answers: clients' requests, admin requests, snapshots, HTTP pages."""
