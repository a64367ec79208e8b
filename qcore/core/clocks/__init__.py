"""The two clocks in the log: the cluster clock and the wall clock of the leader."""
