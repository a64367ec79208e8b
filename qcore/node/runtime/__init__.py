"""How a node runs as a process: driver, inbox, event loop, garbage collector, file descriptors, shutdown."""
