"""The listening side of the transport: the server, its connections, and their turns on the event loop."""
