"""`ActivityLog`: the newest changes and log lines of a node, in memory, for `GetActivity`."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count, islice
from typing import Final, Literal

from pydantic import JsonValue

from qcore.core.effects import MembershipChanged, RoleChanged
from qcore.display import MAX_SENTENCE_CHARS, printable
from qcore.errors import DetailValue
from qcore.node.observability.repeated_lines import RepeatLimiter

#: How many changes, and how many lines, are kept.
KEPT: Final = 256

EventKind = Literal["leader", "role", "members", "line"]


@dataclass(slots=True, frozen=True)
class Activity:
    """One event.

    Attributes:
        sequence: its number since the start of the node, from 1.
        t_us: when it happened, microseconds since the Unix epoch.
        kind: what happened: another leader or term, another role of this node, another configuration, a log line.
        fields: more about it. Texts are short and printable.
    """

    sequence: int
    t_us: int
    kind: EventKind
    fields: Mapping[str, JsonValue]

    def as_json(self) -> dict[str, JsonValue]:
        """The event in a response."""
        return {"sequence": self.sequence, "t_us": self.t_us, "kind": self.kind, **self.fields}


class ActivityLog:
    """Keeps the newest events. Lines cannot displace changes, and lines that repeat are counted as in the log itself.

    Args:
        wall_us: microseconds since the Unix epoch. Before `use_clock`, the times are 0.

    Attributes:
        wall_us: the same.
        started_us: when the log began. A client that sees another value begins with `after` 0 again.
    """

    def __init__(self, wall_us: Callable[[], int] = lambda: 0) -> None:
        self.started_us = wall_us()
        self.wall_us = wall_us
        self._numbers = count(1)
        self._changes: deque[Activity] = deque(maxlen=KEPT)
        self._lines: deque[Activity] = deque(maxlen=KEPT)
        self._repeats: RepeatLimiter[tuple[int, str]] = RepeatLimiter()
        self._lock = threading.Lock()  # the threads of files log, too
        self._role = "starting"
        self._leader: tuple[int, int | None] = (0, None)

    def use_clock(self, wall_us: Callable[[], int]) -> None:
        """Take the times from the world of the node."""
        self.wall_us = wall_us
        self.started_us = wall_us()

    def role_changed(self, change: RoleChanged) -> None:
        """Note a role, a term or a leader."""
        if (change.term, change.leader_id) != self._leader:
            self._leader = change.term, change.leader_id
            self._add("leader", {"term": change.term, "leader": change.leader_id})
        if change.role != self._role:
            self._role = change.role
            self._add("role", {"term": change.term, "role": change.role})

    def members_changed(self, change: MembershipChanged) -> None:
        """Note a configuration."""
        membership = change.membership
        fields: dict[str, JsonValue] = {
            "index": change.index,
            "voters": list(membership.voters),
            "learners": list(membership.learners),
        }
        if membership.is_joint:
            fields["voters_outgoing"] = list(membership.voters_outgoing)
        self._add("members", fields)

    def line(self, level: int, event: str, fields: Mapping[str, DetailValue]) -> None:
        """Note a line of the log, unless it is for debugging, or like many before it."""
        if level < logging.INFO:
            return
        shown: dict[str, JsonValue] = {
            "level": logging.getLevelName(level).lower(),
            "term": self._leader[0],
            "role": self._role,
            "text": printable(event, MAX_SENTENCE_CHARS),
            "fields": {
                key: printable(value) if isinstance(value, str) else value
                for key, value in islice(fields.items(), 16)
            },
        }
        with self._lock:
            more = self._repeats.admit((level, event[:100]), self.wall_us() / 1e6)
            if more is not None:
                if more:
                    shown["more"] = more
                self._append(self._lines, "line", shown)

    def after(self, sequence: int, most_lines: int) -> list[Activity]:
        """The events after this number, oldest first: all changes that are kept, and at most so many lines."""
        with self._lock:
            changes, lines = [*self._changes], [*self._lines]
        lines = lines[max(0, len(lines) - most_lines) :]
        found = [each for each in (*changes, *lines) if each.sequence > sequence]
        return sorted(found, key=lambda each: each.sequence)

    def _add(self, kind: EventKind, fields: Mapping[str, JsonValue]) -> None:
        with self._lock:
            self._append(self._changes, kind, fields)

    def _append(
        self, ring: deque[Activity], kind: EventKind, fields: Mapping[str, JsonValue]
    ) -> None:
        ring.append(Activity(next(self._numbers), self.wall_us(), kind, fields))
