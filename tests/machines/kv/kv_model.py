"""A model of the key-value machine: the whole state once for each revision, and nothing clever."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, replace
from typing import Any  # JSON objects

HOLDS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt}
NUMBERS = ("version", "create_revision", "mod_revision", "lease")


@dataclass(frozen=True)
class Kv:
    """A key."""

    key: str
    value: str
    create_revision: int
    mod_revision: int
    version: int
    lease: int

    def json(self, *, keys_only: bool = False) -> dict[str, Any]:
        """As the machine shows it."""
        shown = dict(vars(self))
        if keys_only:
            del shown["value"]
        if not self.lease:
            del shown["lease"]
        return shown


State = dict[str, Kv]


@dataclass
class Model:
    """The states by revision, and the leases by number: time to live and end."""

    states: list[tuple[int, State]] = field(default_factory=lambda: [(0, {})])
    leases: dict[int, tuple[int, int]] = field(default_factory=dict)
    compacted: int = 0

    @property
    def revision(self) -> int:
        """The newest revision."""
        return self.states[-1][0]

    def at(self, revision: int | None) -> State:
        """The state as of a revision."""
        if revision is None:
            return self.states[-1][1]
        return next(state for number, state in reversed(self.states) if number <= revision)

    def apply(self, command: dict[str, Any], index: int, clock_us: int) -> dict[str, Any]:
        """The result of a command; `{"ok": False}` for an error."""
        state = dict(self.at(None))
        leases = dict(self.leases)
        try:
            fields = self._execute(command, state, leases, index, clock_us)
        except ValueError:
            return {"ok": False}
        self.leases = leases
        if state != self.at(None):
            self.states.append((index, state))
        return {"ok": True, "revision": self.revision, **fields}

    def _execute(
        self,
        command: dict[str, Any],
        state: State,
        leases: dict[int, tuple[int, int]],
        index: int,
        clock_us: int,
    ) -> dict[str, Any]:
        match command["op"]:
            case "grant":
                number = command.get("id", index)
                if number in leases:
                    raise ValueError
                leases[number] = (command["ttl_ms"], clock_us + 1000 * command["ttl_ms"])
                return {"id": number, "ttl_ms": command["ttl_ms"]}
            case "keep":
                ttl_ms, end_us = leases.get(command["id"], (0, 0))
                if end_us <= clock_us:
                    raise ValueError
                leases[command["id"]] = (ttl_ms, clock_us + 1000 * ttl_ms)
                return {"id": command["id"], "ttl_ms": ttl_ms}
            case "revoke":
                if command["id"] not in leases:
                    raise ValueError
                return {"deleted": self._end(command["id"], state, leases)}
            case "expire":
                due = sorted(
                    (end, number) for number, (_, end) in leases.items() if end <= clock_us
                )
                for _, number in due:
                    self._end(number, state, leases)
                return {"expired": [number for _, number in due]}
            case "compact":
                if not self.compacted < command["revision"] <= self.revision:
                    raise ValueError
                self.compacted = command["revision"]
                return {}
        check_twice([command])
        before = dict(state)
        living = {number for number, (_, end_us) in leases.items() if end_us > clock_us}
        return self._operation(command, state, before, living, index)

    def _end(self, number: int, state: State, leases: dict[int, tuple[int, int]]) -> int:
        held = [key for key, kv in state.items() if kv.lease == number]
        for key in held:
            del state[key]
        del leases[number]
        return len(held)

    def _operation(
        self,
        command: dict[str, Any],
        state: State,
        before: State,
        leases: set[int],
        index: int,
    ) -> dict[str, Any]:
        match command["op"]:
            case "put":
                return put(command, state, leases, index)
            case "delete":
                found = in_range(state, command)
                for kv in found:
                    del state[kv.key]
                prev = {"prev": [kv.json() for kv in found]} if command.get("prev") else {}
                return {"deleted": len(found), **prev}
            case "range":
                return self.range(command, state)
        chosen = all(holds(each, before) for each in command.get("if", []))
        results = [
            {"op": each["op"], **self._operation(each, state, before, leases, index)}
            for each in command.get("then" if chosen else "else", [])
        ]
        return {"succeeded": chosen, "responses": results}

    def range(self, query: dict[str, Any], state: State | None = None) -> dict[str, Any]:
        """The answer to a range, without its envelope."""
        revision = query.get("revision")
        if revision is not None:
            if not self.compacted <= revision <= self.revision:
                raise ValueError
            state = self.at(revision)
        found = in_range(self.at(None) if state is None else state, query)
        count = len(found)
        for name in ("mod_revision", "create_revision"):
            low, high = query.get(f"min_{name}", 0), query.get(f"max_{name}", 2**63 - 1)
            found = [kv for kv in found if low <= getattr(kv, name) <= high]
        by = query.get("sort_by", "key")
        found.sort(key=lambda kv: getattr(kv, by), reverse=query.get("descending", False))
        limit = query.get("limit", 0) or 10_000
        shown = [] if query.get("count_only") else found[:limit]
        return {
            "kvs": [kv.json(keys_only=query.get("keys_only", False)) for kv in shown],
            "more": not query.get("count_only") and len(found) > limit,
            "count": count,
        }


def put(command: dict[str, Any], state: State, leases: set[int], index: int) -> dict[str, Any]:
    held = state.get(command["key"])
    lease = command.get("lease", 0)
    if lease and lease not in leases:
        raise ValueError
    if held is None:
        if command.get("keep_value") or command.get("keep_lease"):
            raise ValueError
        state[command["key"]] = Kv(command["key"], command["value"], index, index, 1, lease)
        return {}
    new = replace(held, mod_revision=index, version=held.version + 1)
    if not command.get("keep_value"):
        new = replace(new, value=command["value"])
    if not command.get("keep_lease"):
        new = replace(new, lease=lease)
    state[command["key"]] = new
    return {"prev": held.json()} if command.get("prev") else {}


def in_range(state: State, named: dict[str, Any]) -> list[Kv]:
    """The keys that a request names, in order."""
    keys = sorted(state)
    after = named.get("after")
    if after is not None:
        keys = [key for key in keys if key > after]
    if "prefix" in named:
        keys = [key for key in keys if key.startswith(named["prefix"])]
    elif "end" in named:
        end = named["end"]
        keys = [key for key in keys if named["key"] <= key and (end is None or key < end)]
    else:
        keys = [key for key in keys if key == named["key"]]
    return [state[key] for key in keys]


def holds(comparison: dict[str, Any], state: State) -> bool:
    """Whether a comparison holds."""
    relation = HOLDS[comparison.get("is", "=")]
    found: list[Kv | None] = [*in_range(state, comparison)] or [None]
    if "value" in comparison:
        return all(kv is not None and relation(kv.value, comparison["value"]) for kv in found)
    if "exists" in comparison:
        return all((kv is not None) == comparison["exists"] for kv in found)
    name = next(name for name in NUMBERS if name in comparison)
    return all(relation(0 if kv is None else getattr(kv, name), comparison[name]) for kv in found)


def check_twice(branch: list[dict[str, Any]]) -> None:
    """Raise if a way through the operations writes a key twice."""
    for way in ways(branch):
        for at, first in enumerate(way):
            for second in way[at + 1 :]:
                if "put" in (first["op"], second["op"]) and overlap(first, second):
                    raise ValueError


def ways(branch: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """All sequences of writes that can happen."""
    found: list[list[dict[str, Any]]] = [[]]
    for each in branch:
        if each["op"] == "txn":
            inner = ways(each.get("then", [])) + ways(each.get("else", []))
            found = [way + more for way in found for more in inner]
        elif each["op"] != "range":
            found = [[*way, each] for way in found]
    return found


def overlap(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether one of the two is a put to a key that the other names."""
    for one, other in ((first, second), (second, first)):
        if one["op"] == "put":
            probe = {one["key"]: Kv(one["key"], "", 0, 0, 0, 0)}
            if in_range(probe, other):
                return True
    return False
