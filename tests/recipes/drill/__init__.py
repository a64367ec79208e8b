"""Worker processes run a client program against real nodes, under faults of workers and nodes."""
