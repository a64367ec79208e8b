"""What only a process of a node has: a service manager, signals, files that are opened again, and figures of it."""
