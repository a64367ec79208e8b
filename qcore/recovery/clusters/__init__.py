"""New clusters, from a snapshot file or from the nodes that are left of an older cluster."""
