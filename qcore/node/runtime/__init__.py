"""How a node runs as a process: driver, inbox, clocks, event loop, garbage collector, file descriptors, shutdown."""
