"""Everything that carries messages between processes: wire format, connections, server, and pool of peers."""
