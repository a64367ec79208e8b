"""The persistent outgoing connections to the peers."""
