"""The way of requests through the cluster: attempts, and the times of their entries."""
