"""Which nodes a node accepts as peers: by identity, cluster, membership and version."""
