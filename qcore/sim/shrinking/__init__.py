"""Shrinks a failing run: finds the smallest one that fails for the same cause.

A *pass* proposes edits of the smallest failing run until now: without some steps, with fewer nodes, with a constant
latency. `ShrinkSearch` tries them one after the other, and keeps those with which the run still fails for the same
cause. `pass_order` orders the passes, and repeats them until none finds anything.

| module | holds |
|---|---|
| `shrink_api` | `shrink`, for programs and for `qcore sim shrink` |
| `pass_order` | the order of the passes |
| `shrink_search` | trying edits |
| `passes` | fewer steps, nodes, clients, settings, and less time; other times for the steps that are left |
| `flat_timeline` | steps that do not depend on each other |
| `trial_run`, `parallel_trials` | running a candidate, here or in other processes |
"""

from __future__ import annotations

from qcore.sim.shrinking.run_size import RunSize
from qcore.sim.shrinking.shrink_api import ShrinkResult, shrink

__all__ = ["RunSize", "ShrinkResult", "shrink"]
