"""Faults that other Raft systems had, played here: right with qcore's guard, wrong once it is taken away.

Each fault has one play, a function. `test_..._is_right` runs it as qcore is; its twin takes the guard away, by
`RaftConfig.safeguards` where there is a switch, else by replacing the one guarded function, and the same play goes
wrong. docs/raft.md lists the faults with their public threads.
"""
