"""What runs a node in its process: driver, inbox, clocks, event loop, garbage collector, file limits, shutdown."""
