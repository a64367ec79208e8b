"""The workload of a run: simulated clients, the operations that they begin, and the codecs for each state machine."""
