"""Exploration: every order of events of a small cluster of real cores, within bounds.

    from qcore.sim import explore

    print(explore("election", without=["one_vote_per_term"]))

A scenario is one run, and a sweep samples runs. An exploration visits every state that a small cluster can reach within
some steps, so it finds faults that need an unlucky order of events, and shows the shortest way to them. What it has
visited holds for these bounds only.

| package or module | holds |
|---|---|
| `bounds` | how large the cluster is, what may happen, and how often; presets |
| `small` | the cluster: real cores, disks, messages in flight, and the properties that must hold |
| `search` | how it is searched: breadth first, or under random priorities |
| `exploration` | `explore` and its result |
| `counterexample` | the steps that break a property, as text and as a file |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.sim.exploration.bounds import Bounds
    from qcore.sim.exploration.counterexample import Counterexample
    from qcore.sim.exploration.explorer import Exploration, explore
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.sim.exploration.bounds": ("Bounds",),
            "qcore.sim.exploration.counterexample": ("Counterexample",),
            "qcore.sim.exploration.explorer": ("Exploration", "explore"),
        },
    )

__all__ = ["Bounds", "Counterexample", "Exploration", "explore"]
