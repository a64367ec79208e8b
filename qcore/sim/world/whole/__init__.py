"""Whole nodes in the simulator: `qcore.node.replica_node.ReplicaNode` and `qcore.Client` on simulated computers.

A scenario with `fidelity: node` uses them. See `qcore.sim.world.simulated_node`.
"""
