"""Request handlers of a node: clients' requests, admin requests, snapshots, `Init`, HTTP pages."""
