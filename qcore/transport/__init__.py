"""Carries messages between processes: their wire format, connections, the server, and the connections to peers."""
