"""The client library: sends requests to a cluster, chooses the node, retries, and keeps sessions."""
