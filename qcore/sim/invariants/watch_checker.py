"""Checks what watchers receive: every change of their topic after the start, once, in order, with the right text.

The truth comes from the state machines themselves: `HashedMachine` asks each of them for `last_changes` after each
command. The part of the replica under test, which keeps changes for watches and sends them, contributes nothing to it.
A command that a session does not run again never reaches the machine, so it adds nothing to the truth either.
"""

from __future__ import annotations

import json
from bisect import bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from qcore.machines.interface import (
    Change,
    SupportsChanges,
    SupportsWatchRequests,
    WatchFilter,
)
from qcore.sim.invariants import Report

CHECK: Final = "watches"
#: The limit of reports. Once a watch is broken, many of its notices are wrong.
_MAX_REPORTS: Final = 20
_SHOWN_CHARS: Final = 120
#: What a notice has only when it is sent right after the command; see `WatchFilter.notice`.
_LIVE_FIELD: Final = "context"

#: Log index of the command, and the position of the change among all changes of that command.
Position = tuple[int, int]


class _Expected(NamedTuple):
    position: Position
    change: Change


class Gap(NamedTuple):
    """A node reported that the changes after `after` are compacted, and the watcher began again after `start`."""

    after: Position
    start: Position | None


@dataclass(slots=True)
class WatcherLog:
    """What one watcher asked for and received.

    Attributes:
        watcher: its number among the clients.
        topic: what it watches, as the scenario names it.
        request: the text of its request.
        position: the last change that it saw, or the position after which its watch began; None before that.
        node: the node that serves it; 0 while none does.
        notices: how many changes it saw.
        begun, resumed: how many watches began; how many of them after an earlier position.
        gaps: how often a node reported that changes are compacted.
        refusal: why it stopped: an error after which watching again is useless.
    """

    watcher: int
    topic: str
    request: str = ""
    position: Position | None = None
    node: int = 0
    notices: int = 0
    begun: int = 0
    resumed: int = 0
    gaps: list[Gap] = field(default_factory=list)
    refusal: str = ""
    filter: WatchFilter | None = None

    @property
    def name(self) -> str:
        return f"watcher {self.watcher} of {self.topic}"


class WatchChecker:
    """Knows every change of a run, and compares what watchers receive with it.

    Args:
        report: called with (check, node, note) for each violation, at most 20 times.
        highest_commit: the highest commit index of all nodes.
    """

    def __init__(self, report: Report, highest_commit: Callable[[], int]) -> None:
        self._report = report
        self._highest_commit = highest_commit
        self._reports = 0
        self._commands: dict[int, tuple[Change, ...]] = {}
        self._by_topic: dict[str, list[_Expected]] = {}
        self._machine: SupportsChanges | None = None
        self.logs: list[WatcherLog] = []

    # -- the truth --------------------------------------------------------------------------------

    def applied(self, node: int, index: int, machine: SupportsChanges) -> None:
        """The machine of a node has just applied the command at this index."""
        changes = tuple(machine.last_changes())
        known = self._commands.get(index)
        if known is not None:
            if known != changes and list(map(_contents, known)) != list(map(_contents, changes)):
                self._violation(
                    node,
                    f"node {node} reports other changes of the command at index {index} than the first node that "
                    f"applied it: {_short(list(map(_contents, changes)))} instead of "
                    f"{_short(list(map(_contents, known)))}",
                )
            return
        self._commands[index] = changes
        self._machine = machine
        for sequence, change in enumerate(changes):
            for topic in dict.fromkeys(change.topics):
                expected = _Expected((index, sequence), change)
                insort(self._by_topic.setdefault(topic, []), expected, key=_position_of)

    def missing(self, log: WatcherLog) -> list[Position]:
        """The changes after the position of a watcher, which it has not seen yet; all of them if no watch began."""
        return [expected.position for expected, _body in self._after(log, log.position or (0, 0))]

    def _after(self, log: WatcherLog, position: Position) -> Iterator[tuple[_Expected, str]]:
        """The changes that the watcher must see after this position, with their texts."""
        machine = self._machine
        if log.filter is None and isinstance(machine, SupportsWatchRequests):
            log.filter = machine.watch_filter(log.request, resumes=True)
        chosen = log.filter
        changes = self._by_topic.get(log.request if chosen is None else chosen.topic, [])
        for number in range(bisect_right(changes, position, key=_position_of), len(changes)):
            expected = changes[number]
            body = (
                expected.change.body
                if chosen is None
                else chosen.notice(expected.change, live=False)
            )
            if body is not None:
                yield expected, body

    # -- what watchers see ------------------------------------------------------------------------

    def began(
        self, log: WatcherLog, node: int, after: Position | None, start: Position, acknowledged: int
    ) -> None:
        """The node has answered that the watch begins after `start`.

        Args:
            log: the watcher.
            node: the node.
            after: the position that the watcher gave; None for a watch from now on.
            start: the position in the answer.
            acknowledged: the highest index of a write that was acknowledged before the request.
        """
        log.begun += 1
        log.node = node
        if after is not None:
            log.resumed += 1
            if start != after:
                self._violation(
                    node,
                    f"{log.name}: it resumed after {_text(after)} at node {node}, whose answer says {_text(start)}",
                )
            return
        covered = (
            start[0] if start[1] >= 0 else start[0] - 1
        )  # sequence -1: before all changes of the index
        if covered < acknowledged:
            self._violation(
                node,
                f"{log.name}: its watch at node {node} begins after {_text(start)}, although index {acknowledged} was "
                "acknowledged before the request",
            )
        if covered > self._highest_commit():
            self._violation(
                node,
                f"{log.name}: its watch at node {node} begins after {_text(start)}, which is not committed: the "
                f"highest commit index is {self._highest_commit()}",
            )
        if log.gaps and log.gaps[-1].start is None:
            log.gaps[-1] = Gap(log.gaps[-1].after, start)
        log.position = start

    def notice(self, log: WatcherLog, node: int, seen: Position, body: str) -> None:
        """The watcher received this notice from the node."""
        at = log.position
        if at is None:
            self._violation(node, f"{log.name}: node {node} sent {_text(seen)} before its answer")
            return
        if seen <= at:
            self._violation(
                node,
                f"{log.name}: node {node} sent {_text(seen)} after {_text(at)}: twice, or out of order",
            )
            return
        log.notices += 1
        expected, text = next(self._after(log, at), (None, ""))
        if expected is None or expected.position > seen:
            committed = self._highest_commit()
            why = (
                f"which is not committed; the highest commit index is {committed}"
                if seen[0] > committed
                else "which is no change of its topic"
            )
            self._violation(node, f"{log.name}: node {node} sent {_text(seen)}, {why}")
            return
        if expected.position < seen:
            self._violation(
                node,
                f"{log.name}: node {node} sent {_text(seen)} after {_text(at)}: the change {_text(expected.position)} "
                f"is missing, {_short(text)}",
            )
        else:
            if seen[0] > self._highest_commit():
                self._violation(
                    node,
                    f"{log.name}: node {node} sent {_text(seen)}, which is not committed: the "
                    f"highest commit index is {self._highest_commit()}",
                )
            if not _equal_bodies(body, text, filtered=log.filter is not None):
                self._violation(
                    node,
                    f"{log.name}: node {node} sent {_short(body)} as {_text(seen)}, expected {_short(text)}",
                )
        log.position = seen

    def compacted(self, log: WatcherLog, node: int, first_index: int) -> None:
        """The node says that the changes after the watcher's position are compacted."""
        at = log.position
        if at is None:
            self._violation(
                node,
                f"{log.name}: node {node} says that changes are compacted, although the watcher gave no position",
            )
            return
        if at[0] >= first_index:
            self._violation(
                node,
                f"{log.name}: node {node} says that the changes after {_text(at)} are compacted, and that it has those "
                f"from index {first_index} on",
            )
        log.gaps.append(Gap(at, None))
        log.position = None

    def after_end(self, node: int, watch_id: int, seen: Position) -> None:
        """A replica sent a notice of a watch that had ended, or had never begun."""
        self._violation(
            node, f"node {node} sent {_text(seen)} to its watch {watch_id}, which had ended"
        )

    def _violation(self, node: int, note: str) -> None:
        self._reports += 1
        if self._reports <= _MAX_REPORTS:
            self._report(CHECK, node, note)


def _position_of(expected: _Expected) -> Position:
    return expected.position


def _contents(change: Change) -> tuple[tuple[str, ...], str]:
    return change.topics, change.body


def _equal_bodies(seen: str, expected: str, *, filtered: bool) -> bool:
    """Whether two texts are equal, apart from what a notice of an old change cannot have."""
    if seen == expected:
        return True
    if not filtered:
        return False
    one, other = json.loads(seen), json.loads(expected)
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return False
    one.pop(_LIVE_FIELD, None)
    other.pop(_LIVE_FIELD, None)
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _text(position: Position) -> str:
    return f"[{position[0]}, {position[1]}]"


def _short(what: str | Sequence[object]) -> str:
    text = repr(what)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."
