"""Checks that users write for their state machines: invariants, properties, checks of the history, sequential models.

    from qcore.sim.oracles import always, sometimes, eventually, Oracles, Request

In the file of a user-defined machine, these names are found by themselves: `invariant`, `check`, `Model`, and every
function under `@always`, `@sometimes` or `@eventually`. `run_scenario(..., oracles=Oracles(...))` takes the same.

| name | asked | meaning |
|---|---|---|
| `invariant(state)`, `@always` | after each entry and each restore, at each node | the state is allowed |
| `@sometimes` | the same | the state is reached at least once in the run |
| `@eventually` | at the end, at each running member | the state is reached by the end |
| `check(history)` | at the end | the requests and answers are allowed; `history` is a list of `RequestRecord` |
| `Model` | at the end | some order of the requests explains every answer; see `SequentialModel` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.sim.oracles.model.sequential_model import Request, SequentialModel
    from qcore.sim.oracles.properties import Property, always, eventually, sometimes
    from qcore.sim.oracles.request_record import RequestRecord
    from qcore.sim.oracles.user_oracles import Oracles
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.sim.oracles.properties": ("Property", "always", "eventually", "sometimes"),
            "qcore.sim.oracles.request_record": ("RequestRecord",),
            "qcore.sim.oracles.model.sequential_model": ("Request", "SequentialModel"),
            "qcore.sim.oracles.user_oracles": ("Oracles",),
        },
    )

__all__ = [
    "Oracles",
    "Property",
    "Request",
    "RequestRecord",
    "SequentialModel",
    "always",
    "eventually",
    "sometimes",
]
