"""Keys of nodes and join tokens: Ed25519 signatures over handshakes. No I/O besides the key file of a node."""
