"""Passes over the settings: fewer of them, and constants in place of distributions."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from typing import Final

from qcore.sim.scenario.distributions import SHAPES
from qcore.sim.shrinking.candidate_values import Values, part
from qcore.sim.shrinking.edits import Case, Edit

Path = tuple[str | int, ...]

_CLIENTS: Final = ("workload", "clients")
#: What other passes change, because the default is not the smallest value, and what says which run this is.
_KEPT: Final = frozenset(
    {
        ("name",),
        ("summary",),
        ("timeline",),
        ("until_ms",),
        ("expect",),
        ("cluster", "nodes"),
        ("network", "latency_ms"),
        ("workload", "cas_fraction"),
        _CLIENTS,
        ("workload", "keys"),
        ("workload", "rate_per_s"),
        ("workload", "read_fraction"),
        ("workload", "start_ms"),
        ("workload", "stop_ms"),
    }
)


def drop_expectations(case: Case) -> list[Edit]:
    """Remove every expectation but the one that fails. A violation needs none."""
    expect = part(case.values, "expect")
    needed = () if case.is_violation else (case.outcome.key.removeprefix("undecided:"),)
    left = {key: value for key, value in expect.items() if key in needed}
    edits: list[Edit] = []
    if expect != left:
        edits.append(Edit("the other expectations", partial(_set_at, path=("expect",), value=left)))
    edits += [
        Edit(f"expect.{key}", partial(_drop_at, path=("expect", key)))
        for key in expect
        if key not in needed
    ]
    return edits


def drop_settings(case: Case) -> list[Edit]:
    """Remove settings, whole parts first, so that their defaults apply."""
    edits = [
        Edit(".".join(map(str, path)), partial(_drop_at, path=path), case.more_seeds)
        for path in _paths(case.values)
        if path not in _KEPT
    ]
    workload = part(case.values, "workload")
    if workload.get("clients") == 0 and len(workload) > 1:
        change = partial(_set_at, path=("workload",), value={"clients": 0})
        edits.insert(0, Edit("the other settings of the workload", change))
    return edits


def drop_idle_settings(case: Case) -> list[Edit]:
    """Remove also settings of the load whose defaults are larger, if the run does no more without them."""
    return [
        Edit(".".join(path), partial(_drop_leaf, path=path), no_more_work=True)
        for path in sorted(_KEPT)
        if path[0] == "workload" and path != _CLIENTS and path[-1] in part(case.values, path[0])
    ]


def only_one_cause(case: Case, failed: Collection[str]) -> list[Edit]:
    """Let only the cause fail: a small run may also do no work, or have a fault that does nothing."""
    allowed = {
        "work_done": ("expect", "may_do_nothing"),
        "every_fault_acted": ("may_not_act",),
    }
    return [
        Edit(f"the failure of {name}", partial(_set_at, path=path, value=True))
        for name, path in allowed.items()
        if name in failed and name != case.outcome.key
    ]


def tidy(case: Case) -> list[Edit]:
    """Leave out parts that say nothing."""
    return [
        Edit(f"the empty part {key}", partial(_drop_at, path=(key,)))
        for key, value in case.values.items()
        if value in ({}, [])
    ]


def constant_times(case: Case) -> list[Edit]:
    """Constants in place of the distributions of latencies and other durations."""
    edits: list[Edit] = []
    for path, value in _all(case.values):
        for constant in _constants(value):
            text = f"{'.'.join(map(str, path))}: {constant:g} in place of a distribution"
            change = partial(_set_at, path=path, value=constant)
            edits.append(Edit(text, change, case.more_seeds, group=str(path)))
    if "latency_ms" not in part(case.values, "network"):
        edits += [
            Edit(
                f"network.latency_ms: {value} in place of a distribution",
                partial(_set_at, path=("network", "latency_ms"), value=value),
                case.more_seeds,
                group="latency",
            )
            for value in (5, 1)
        ]
    return edits


def _paths(values: Values, *, before: Path = ()) -> Iterator[Path]:
    """The places of all settings, outer ones first."""
    for key, value in values.items():
        path = (*before, key)
        if path[0] in ("timeline", "expect"):
            continue
        yield path
        if isinstance(value, dict):
            yield from _paths(value, before=path)


def _all(value: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _all(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _all(inner, (*path, place))


def _constants(value: object) -> list[float]:
    """Values that may stand in the place of a distribution; nothing for anything else."""
    if not isinstance(value, dict) or not any(shape in SHAPES for shape in value):
        return []
    (shape,) = [shape for shape in value if shape in SHAPES]
    given = value[shape]
    if shape == "fixed":
        return []
    numbers = (
        [one for one in given if isinstance(one, int | float)]
        if isinstance(given, list)
        else [given]
    )
    if shape in ("uniform", "samples"):
        low, high = min(numbers), max(numbers)
        wanted = [(low + high) / 2, low, high]
    else:
        wanted = [numbers[0]]
    return list(dict.fromkeys(float(round(one)) if one >= 1 else round(one, 1) for one in wanted))


def _drop_at(values: Values, path: Path) -> bool:
    """Remove what is at a place, except for the parts of it that other passes change."""
    at = _inner(values, path[:-1])
    if not isinstance(at, dict) or path[-1] not in at:
        return False
    given = at.pop(path[-1])
    if isinstance(given, dict):
        kept = {key: value for key, value in given.items() if (*path, key) in _KEPT}
        if kept and kept == given:
            return False
        if kept:
            at[path[-1]] = kept
    return True


def _drop_leaf(values: Values, path: tuple[str, ...]) -> bool:
    return part(values, path[0]).pop(path[1], None) is not None


def _set_at(values: Values, path: Path, value: object) -> bool:
    if len(path) > 1 and isinstance(path[0], str):
        values.setdefault(path[0], {})
    at = _inner(values, path[:-1])
    key = path[-1]
    if isinstance(at, dict) and at.get(key) != value:
        at[key] = value
        return True
    if isinstance(at, list) and isinstance(key, int) and key < len(at) and at[key] != value:
        at[key] = value
        return True
    return False


def _inner(values: object, path: Path) -> object:
    for key in path:
        if isinstance(values, dict):
            values = values.get(key)
        elif isinstance(values, list) and isinstance(key, int) and key < len(values):
            values = values[key]
        else:
            return None
    return values
