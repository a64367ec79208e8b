"""Passes over the load: fewer clients and operations, and simpler ones."""

from __future__ import annotations

from functools import partial
from typing import Final

from qcore.sim.shrinking.candidate_values import Values, number_at, part
from qcore.sim.shrinking.edits import Case, Edit

_CLIENTS: Final = 3
_RATE: Final = 50.0
_SEEDS: Final = (1, 2, 3, 4)


def fewer_clients(case: Case) -> list[Edit]:
    """No clients, one client, half of them."""
    workload = part(case.values, "workload")
    clients = int(number_at(workload, "clients", _CLIENTS))
    numbers = [number for number in (0, 1, 2, clients // 2, clients - 1) if number < clients]
    edits = [
        _set("workload", "clients", number, f"{clients - number} of {clients} clients", _SEEDS)
        for number in dict.fromkeys(numbers)
        if number >= 0
    ]
    watchers = workload.get("watchers")
    if watchers:
        edits.insert(0, _drop("workload", "watchers", "the watchers"))
    return edits


def fewer_operations(case: Case) -> list[Edit]:
    """A lower rate, a later begin and an earlier end of the load."""
    workload = part(case.values, "workload")
    if not int(number_at(workload, "clients", _CLIENTS)):
        return []
    rate = number_at(workload, "rate_per_s", _RATE)
    edits = [
        _set("workload", "rate_per_s", new, f"operations: {new:g} a second", _SEEDS)
        for new in (rate // 10, rate // 4, rate // 2, rate * 3 // 4)
        if 1 <= new < rate
    ]
    until = number_at(case.values, "until_ms", 10_000)
    stop = number_at(workload, "stop_ms", until)
    start = number_at(workload, "start_ms", 0)
    span = stop - start
    for share in (0.25, 0.5, 0.75, 0.9):
        end = round(start + span * share, 1)
        edits.append(_set("workload", "stop_ms", end, f"operations after {end:g} ms", _SEEDS[:2]))
    for share in (0.75, 0.5, 0.25):
        begin = round(start + span * share, 1)
        edits.append(
            _set("workload", "start_ms", begin, f"operations before {begin:g} ms", _SEEDS[:2])
        )
    return edits


def simpler_operations(case: Case) -> list[Edit]:
    """One kind of operations, on one register."""
    workload = part(case.values, "workload")
    if not int(number_at(workload, "clients", _CLIENTS)):
        return []
    wanted = (("cas_fraction", 0, 0.1), ("read_fraction", 0, 0.4), ("keys", 1, 8))
    edits = [
        _set("workload", key, value, f"{key} {value}", _SEEDS)
        for key, value, default in wanted
        if number_at(workload, key, default) != value
    ]
    kinds = workload.get("read_kind")
    if isinstance(kinds, list) and len(kinds) > 1:
        edits += [
            _set("workload", "read_kind", [kind], f"only {kind}", _SEEDS)
            for kind in dict.fromkeys(map(str, kinds))
        ]
    return edits


def _set(name: str, key: str, value: object, text: str, seeds: tuple[int, ...] = ()) -> Edit:
    change = partial(_set_in, name=name, key=key, value=value)
    return Edit(text, change, seeds, group=key)


def _set_in(values: Values, name: str, key: str, value: object) -> bool:
    given = values.setdefault(name, {})
    if not isinstance(given, dict) or given.get(key) == value:
        return False
    given[key] = value
    return True


def _drop(name: str, key: str, text: str) -> Edit:
    return Edit(text, partial(_drop_in, name=name, key=key))


def _drop_in(values: Values, name: str, key: str) -> bool:
    return part(values, name).pop(key, None) is not None
