"""Sets and lists that clients add to: the state machine for the simulator, and the load of one client."""
