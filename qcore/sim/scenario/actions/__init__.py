"""The models of the timeline's actions: what a scenario file may write; `registry` lists them all.

`qcore.sim.faults` executes them.
"""
