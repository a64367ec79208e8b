"""The node: the process that runs one replica with storage and transport, and serves clients, peers and HTTP."""
