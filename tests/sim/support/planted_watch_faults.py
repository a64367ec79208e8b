"""Planted faults of watches: each changes what the replicas of a run return, as a bug in them would."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from qcore.core.effects import AppendLog, RoleChanged
from qcore.errors import WatchCompacted
from qcore.replica.events import (
    BeginWatch,
    EndWatch,
    Notice,
    ReplicaEffect,
    ReplicaEvent,
    Reply,
    Restored,
)
from qcore.replica.replica import Replica

Effects = list[ReplicaEffect]


class Planted:
    """A fault of one replica. This one changes nothing.

    Attributes:
        topics: what each watch that began asked for, by its id.
        resumed: the watches that began after a position.
        requests: the requests to watch, by their id.
    """

    def __init__(self) -> None:
        self.topics: dict[int, str] = {}
        self.resumed: dict[int, None] = {}
        self.requests: dict[int, BeginWatch] = {}

    def step(self, events: Sequence[ReplicaEvent], effects: Effects) -> Effects:
        """What the replica returns instead of these effects."""
        for event in events:
            if isinstance(event, BeginWatch):
                self.requests[event.request_id] = event
        for effect in effects:
            if isinstance(effect, Reply) and effect.result is not None:
                asked = self.requests.get(effect.request_id)
                if asked is not None:
                    self.topics[asked.watch_id] = asked.request
                    if asked.after is not None:
                        self.resumed[asked.watch_id] = None
        return [changed for effect in effects for changed in self.change(effect)]

    def change(self, effect: ReplicaEffect) -> Effects:
        return [effect]


class SkipsOnResume(Planted):
    """A resumed watch does not get its first change."""

    def change(self, effect: ReplicaEffect) -> Effects:
        if isinstance(effect, Notice) and effect.watch_id in self.resumed:
            del self.resumed[effect.watch_id]
            return []
        return [effect]


class RepeatsOnResume(Planted):
    """A resumed watch gets its first change twice."""

    def change(self, effect: ReplicaEffect) -> Effects:
        if isinstance(effect, Notice) and effect.watch_id in self.resumed:
            del self.resumed[effect.watch_id]
            return [effect, effect]
        return [effect]


class RepeatsAfterSnapshot(Planted):
    """After an installed snapshot or a change of leaders, each next change comes twice."""

    again = False

    def change(self, effect: ReplicaEffect) -> Effects:
        if isinstance(effect, Restored | RoleChanged):
            self.again = True
        if isinstance(effect, Notice) and self.again:
            self.again = False
            return [effect, effect]
        return [effect]


class Reorders(Planted):
    """Every fifth change comes after the next one of the same watch."""

    count = 0
    held: Notice | None = None

    def change(self, effect: ReplicaEffect) -> Effects:
        if not isinstance(effect, Notice):
            return [effect]
        if self.held is not None and self.held.watch_id == effect.watch_id:
            held, self.held = self.held, None
            return [effect, held]
        self.count += 1
        if self.count % 5 == 0 and self.held is None:
            self.held = effect
            return []
        return [effect]


class LosesAtFailover(Planted):
    """The first change after each change of role or leader is lost."""

    losing = False

    def change(self, effect: ReplicaEffect) -> Effects:
        if isinstance(effect, RoleChanged):
            self.losing = True
        if isinstance(effect, Notice) and self.losing:
            self.losing = False
            return []
        return [effect]


class SendsUncommitted(Planted):
    """A change is sent when its entry is appended, before it is committed."""

    def change(self, effect: ReplicaEffect) -> Effects:
        if not isinstance(effect, AppendLog):
            return [effect]
        found: Effects = [effect]
        for entry in effect.entries:
            if entry.kind != "command":
                continue
            key = json.loads(entry.data).get("key")
            found += [
                Notice(watch_id, entry.index, 0, "{}")
                for watch_id, topic in self.topics.items()
                if topic == key
            ]
        return found


class ChangesText(Planted):
    """Every tenth change comes with another text."""

    count = 0

    def change(self, effect: ReplicaEffect) -> Effects:
        if isinstance(effect, Notice):
            self.count += 1
            if self.count % 10 == 0:
                return [replace(effect, body=effect.body + " ")]
        return [effect]


class BeginsTooEarly(Planted):
    """A watch from now on begins with the first change of the log, according to the reply."""

    def change(self, effect: ReplicaEffect) -> Effects:
        if isinstance(effect, Reply) and effect.result is not None:
            asked = self.requests.get(effect.request_id)
            if asked is not None and asked.after is None:
                return [replace(effect, result="[1, 0]")]
        return [effect]


class ResumesTooLate(Planted):
    """A resumed watch begins one index later than the position that the client gave."""

    def change(self, effect: ReplicaEffect) -> Effects:
        if isinstance(effect, Reply) and effect.result is not None:
            asked = self.requests.get(effect.request_id)
            if asked is not None and asked.after is not None:
                return [replace(effect, result=json.dumps([asked.after[0] + 1, 0]))]
        return [effect]


class CompactsWithoutNeed(Planted):
    """A request to resume is refused as compacted, although the node has the changes."""

    def change(self, effect: ReplicaEffect) -> Effects:
        if isinstance(effect, Reply) and effect.result is not None:
            asked = self.requests.get(effect.request_id)
            if asked is not None and asked.after is not None:
                error = WatchCompacted("planted", first_index=1)
                return [replace(effect, result=None, error=error)]
        return [effect]


class ShowsOldContext(Planted):
    """The context is that of the notice before."""

    context: object = None

    def change(self, effect: ReplicaEffect) -> Effects:
        if not isinstance(effect, Notice):
            return [effect]
        body = json.loads(effect.body)
        shown, self.context = self.context, body["context"]
        return [replace(effect, body=json.dumps({**body, "context": shown}, separators=(",", ":")))]


class CompactsTheFuture(Planted):
    """A request to resume is refused, with a first index that nothing has reached."""

    def change(self, effect: ReplicaEffect) -> Effects:
        if isinstance(effect, Reply) and effect.result is not None:
            asked = self.requests.get(effect.request_id)
            if asked is not None and asked.after is not None:
                error = WatchCompacted("planted", first_index=asked.after[0] + 1_000_000)
                return [replace(effect, result=None, error=error)]
        return [effect]


class IgnoresTheEnd(Planted):
    """A watch goes on after its end."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: dict[int, None] = {}

    def step(self, events: Sequence[ReplicaEvent], effects: Effects) -> Effects:
        after = [Notice(watch_id, 1, 0, "{}") for watch_id in self.ended]
        for event in events:
            if isinstance(event, EndWatch) and event.watch_id in self.topics:
                self.ended[event.watch_id] = None
        return [*super().step(events, effects), *after]


class FallsSilent(Planted):
    """A watch sends nothing after its third change."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[int, int] = {}

    def change(self, effect: ReplicaEffect) -> Effects:
        if isinstance(effect, Notice):
            self.sent[effect.watch_id] = self.sent.get(effect.watch_id, 0) + 1
            if self.sent[effect.watch_id] > 3:
                return []
        return [effect]


def plant(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Planted]) -> None:
    """Give every replica of the next runs this fault."""
    faults: dict[Replica, Planted] = {}
    step = Replica.step

    def faulty(
        replica: Replica, events: Sequence[ReplicaEvent], now: int, wall_us: int
    ) -> list[ReplicaEffect]:
        fault = faults.get(replica) or faults.setdefault(replica, make())
        return fault.step(events, step(replica, events, now, wall_us))

    monkeypatch.setattr(Replica, "step", faulty)
