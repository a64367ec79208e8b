"""The client library: requests to a cluster, with retries, sessions, and the choice of the node to send to."""
