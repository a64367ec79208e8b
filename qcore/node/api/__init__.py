"""What a node answers: the handlers of clients' requests, admin requests, snapshot requests, `Init` and HTTP pages."""
