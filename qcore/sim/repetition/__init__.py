"""Repeats a run in another process, and compares the two traces: whatever depends on more than the seed shows.

`qcore.sim.determinism` checks the state machine of a user, command by command. This package checks the whole run, with
the client programs, the functions that draw requests, and qcore.
"""

from __future__ import annotations

from qcore.sim.repetition.repeated_run import RunRepetition, repeat_run

__all__ = ["RunRepetition", "repeat_run"]
