"""The two clocks in the log: the cluster clock and the leader's wall clock."""
