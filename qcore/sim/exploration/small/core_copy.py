"""`copy_core`: a copy of a `RaftCore` that shares nothing mutable with it.

The explorer tries many events on the same state, and each needs a separate core. `copy.deepcopy` and `pickle` copy
everything, also what never changes: configurations, entries, messages. This copy shares that, and is much faster.

It dispatches on the type of each value. A value of an unknown type is copied slot by slot or by `copy.deepcopy`. So a
new field of the core is copied correctly without a change here.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Final

from qcore.core.config import RaftConfig
from qcore.core.entry import Entry, Membership, Snapshot, SnapshotMeta
from qcore.core.log.raft_log import RaftLog
from qcore.core.raft import RaftCore
from qcore.core.raft_server import RaftServer
from qcore.core.version import ClusterVersion


class FixedDraws(random.Random):
    """A generator that always draws the shortest election timeout: the explorer fires timeouts itself."""

    def random(self) -> float:
        return 0.0


#: Any: the core's fields have many types, and the dispatch is by the type of each value.
_Copier = Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


@cache
def field_names(kind: type) -> tuple[str, ...] | None:
    """The names of the fields of a dataclass, or of another class whose objects have only slots; None for the rest."""
    if is_dataclass(kind):
        return tuple([field.name for field in fields(kind)])
    names: tuple[str, ...] | None = getattr(kind, "__slots__", None)
    return None if kind.__dictoffset__ else names


def _other(value: Any) -> Any:
    """A value whose type is not listed: field by field if it is a dataclass, or if all its fields are slots."""
    kind: type = type(value)
    names = field_names(kind)
    if names is None:
        return deepcopy(value)
    twin: object = object.__new__(kind)
    for name in names:
        held = getattr(value, name)
        object.__setattr__(twin, name, _COPIERS.get(type(held), _other)(held))
    return twin


def _list(value: list[Any]) -> list[Any]:
    return [_COPIERS.get(type(item), _other)(item) for item in value]


def _dict(value: dict[Any, Any]) -> dict[Any, Any]:
    return {key: _COPIERS.get(type(item), _other)(item) for key, item in value.items()}


def _deque(value: deque[Any]) -> deque[Any]:
    return deque([_COPIERS.get(type(item), _other)(item) for item in value])


def _tuple(value: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple([_COPIERS.get(type(item), _other)(item) for item in value])


#: How values of a type are copied. Values of the first types never change.
_COPIERS: Final[dict[type, _Copier]] = {
    **dict.fromkeys(
        (
            *(int, str, bool, float, type(None), RaftConfig, FixedDraws),
            *(Entry, Membership, Snapshot, SnapshotMeta, ClusterVersion),
        ),
        _same,
    ),
    list: _list,
    dict: _dict,
    deque: _deque,
    tuple: _tuple,
}


def copy_core(core: RaftCore) -> RaftCore:
    """A core in the same state. Steps of either do not change the other."""
    server = core._server
    twin = object.__new__(RaftServer)
    fields = twin.__dict__
    for name, value in server.__dict__.items():
        if name == "log":
            fields[name] = _log(value)
        elif name == "effects":
            fields[name] = []
        else:
            fields[name] = _COPIERS.get(type(value), _other)(value)
    held = object.__new__(RaftCore)
    held._server = twin
    held._initial_effects = []
    return held


def _log(log: RaftLog) -> RaftLog:
    """Entries never change, so the list of them is copied as it is."""
    twin = object.__new__(RaftLog)
    twin.entries = log.entries.copy()
    twin.offset = log.offset
    twin.offset_term = log.offset_term
    twin.last_index = log.last_index
    twin._begin_bytes, twin._end_bytes = log._begin_bytes, log._end_bytes[:]
    twin.total_bytes = log.total_bytes
    return twin
