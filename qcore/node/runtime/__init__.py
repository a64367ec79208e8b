"""The event loop's side of a node: driver, inbox, clocks, garbage collection, shutdown."""
