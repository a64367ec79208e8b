"""Tests of faults that Raft systems have had: each shows that qcore's guard holds, and what breaks without the guard.

Each fault has one function that reproduces its conditions. A test runs the function with the guard and shows that
nothing breaks. Its twin `test_without_...` removes the guard and shows what breaks: it switches off one of the
`RaftConfig.safeguards`, or replaces the one guarding function. docs/explanation/faults.md lists the faults with
their public threads.
"""
