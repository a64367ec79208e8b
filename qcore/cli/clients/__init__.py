"""How commands connect to a cluster: each with a client, or all with the clients of the shell."""
