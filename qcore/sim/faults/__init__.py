"""Executes the timeline of a scenario: faults, repairs, admin requests and single operations.

The models of the actions are in `qcore.sim.scenario.actions`.
"""
