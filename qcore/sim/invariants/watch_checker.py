"""Checks what watchers receive: every change of their topic after the start, once, in order, with the right text.

The truth comes from the state machines themselves: `HashedMachine` asks each of them for `last_changes` after each
command. The part of the replica under test, which keeps changes for watches and sends them, contributes nothing to it.
A command that a session does not run again never reaches the machine, so it adds nothing to the truth either. A machine
with `watch_filter` is asked for a second filter of each request that it accepts (`WatchRequestMachine`). That filter
gives the texts, also those that need the state right after the command.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from qcore.compiled_build import register_copies
from qcore.machines.interface import Change, SupportsChanges, WatchFilter
from qcore.replica.machine_results import exception_text
from qcore.sim.invariants import Report

CHECK: Final = "watches"
#: The limit of reports. Once a watch is broken, many of its notices are wrong.
_MAX_REPORTS: Final = 20
_SHOWN_CHARS: Final = 120
#: How long a node may take to send a change to a watch, after it has applied the command and begun the watch.
_LATE_US: Final = 1_000_000

#: Log index of the command, and the position of the change among all changes of that command.
Position = tuple[int, int]


class _Expected(NamedTuple):
    position: Position
    change: Change


class _Accepted(NamedTuple):
    """A filter for a request that a machine accepted, and the topic that it had then."""

    topic: str
    filter: WatchFilter


class Gap(NamedTuple):
    """A node reported that the changes after `after` are compacted, and the watcher began again after `start`."""

    after: Position
    start: Position | None


@dataclass
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
        #: The first filter for each request, for texts that need no state.
        self._filters: dict[str, _Accepted] = {}
        #: For each node, the filters of its present machine.
        self._filters_at: dict[int, dict[str, _Accepted]] = {}
        #: For each node, when its present machine applied each index.
        self._applied_us: dict[int, dict[int, int]] = {}
        #: By request and position, the text with the state right after the command.
        self._live_texts: dict[tuple[str, Position], str] = {}
        self._failed_filters: dict[str, None] = {}
        self.logs: list[WatcherLog] = []
        #: Everything up to this index is committed, as some watcher knows.
        self.seen_index = 0

    # -- the truth --------------------------------------------------------------------------------

    def started(self, node: int) -> None:
        """The process of a node started, with a new machine."""
        self._filters_at[node] = {}
        self._applied_us[node] = {}

    def accepted(self, node: int, request: str, found: WatchFilter) -> None:
        """The machine of a node has accepted a request to watch.

        Args:
            node: the node.
            request: the text of the request.
            found: a filter for the request that nothing else uses.
        """
        accepted = _Accepted(found.topic, found)
        self._filters.setdefault(request, accepted)
        self._filters_at[node].setdefault(request, accepted)

    def applied(self, node: int, index: int, machine: SupportsChanges, now_us: int) -> None:
        """The machine of a node has just applied the command at this index."""
        self._applied_us[node][index] = now_us
        changes = tuple(machine.last_changes())
        known = self._commands.get(index)
        if known is None:
            self._commands[index] = changes
            for sequence, change in enumerate(changes):
                for topic in dict.fromkeys(change.topics):
                    expected = _Expected((index, sequence), change)
                    insort(self._by_topic.setdefault(topic, []), expected, key=_position_of)
        elif known != changes and list(map(_contents, known)) != list(map(_contents, changes)):
            self._violation(
                node,
                f"node {node} reports other changes of the command at index {index} than the first node that "
                f"applied it: {_short(list(map(_contents, changes)))} instead of "
                f"{_short(list(map(_contents, known)))}",
            )
        for request, accepted in self._filters_at[node].items():
            for sequence, change in enumerate(changes):
                if accepted.topic in change.topics:
                    self._take_live_text(node, request, accepted, (index, sequence), change)

    def _take_live_text(
        self, node: int, request: str, accepted: _Accepted, position: Position, change: Change
    ) -> None:
        """Remember the text of a change that needs the state of now."""
        live, late = (self._text_of(request, accepted, change, live=live) for live in (True, False))
        if (live is None) != (late is None):
            self._violation(
                node,
                f"the filter of the request {_short(request)} passes the change {_text(position)} "
                f"{'late' if live is None else 'live'} only: a watch would miss it or not, depending on its node",
            )
        if live is None or live == late:
            return
        known = self._live_texts.setdefault((request, position), live)
        if known != live:
            self._violation(
                node,
                f"the machine of node {node} gives another text for the change {_text(position)} and the request "
                f"{_short(request)} than that of the first node: {_short(live)} instead of {_short(known)}",
            )

    def _text_of(
        self, request: str, accepted: _Accepted, change: Change, *, live: bool
    ) -> str | None:
        """The text for the watches of a request; None if they must not receive the change."""
        if request in self._failed_filters:
            return None
        try:
            return accepted.filter.notice(change, live=live)
        except Exception as raised:  # noqa: BLE001 - user code may raise anything
            self._failed_filters[request] = None
            self._violation(
                0,
                f"the filter of the request {_short(request)} raised {type(raised).__name__}: {exception_text(raised)}",
            )
            return None

    def missing(self, log: WatcherLog) -> list[Position]:
        """The changes after the position of a watcher, which it has not seen yet; all of them if no watch began."""
        return [expected.position for expected, _body in self._after(log, log.position or (0, 0))]

    def _after(self, log: WatcherLog, position: Position) -> Iterator[tuple[_Expected, str]]:
        """The changes that the watcher must see after this position, with their texts."""
        chosen = self._filters.get(log.request)
        changes = self._by_topic.get(log.request if chosen is None else chosen.topic, [])
        for number in range(bisect_right(changes, position, key=_position_of), len(changes)):
            expected = changes[number]
            text = (
                expected.change.body
                if chosen is None
                else self._text_of(log.request, chosen, expected.change, live=False)
            )
            if text is not None:
                yield expected, text

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
            acknowledged: the highest index that was known to be committed before the request: of a write that was
                acknowledged, or of a change that a watcher saw.
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
                "acknowledged or seen before the request",
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
            live = self._live_texts.get((log.request, seen))
            if body not in (text, live):
                self._violation(
                    node,
                    f"{log.name}: node {node} sent {_short(body)} as {_text(seen)}, expected {_short(text)}"
                    + ("" if live is None else f" or {_short(live)}"),
                )
        log.position = seen
        self.seen_index = max(self.seen_index, seen[0])

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
        if first_index > self._highest_commit() + 1:
            self._violation(
                node,
                f"{log.name}: node {node} says that it has the changes from index {first_index} on, which is not "
                f"committed: the highest commit index is {self._highest_commit()}",
            )
        log.gaps.append(Gap(at, None))
        log.position = None

    def answered(self, log: WatcherLog, node: int, begun_us: int, sent_us: int) -> None:
        """The watcher received an answer to a probe. It has received everything that the node sent before.

        Args:
            log: the watcher.
            node: the node that serves it.
            begun_us: when the watcher learned that this watch began.
            sent_us: when the node sent the answer.
        """
        expected, text = next(self._after(log, log.position or (0, 0)), (None, ""))
        if expected is None:
            return
        applied_us = self._applied_us[node].get(expected.position[0])
        if applied_us is None or max(applied_us, begun_us) + _LATE_US > sent_us:
            return
        self._violation(
            node,
            f"{log.name}: node {node} has not sent {_text(expected.position)}, {_short(text)}, "
            f"{(sent_us - applied_us) / 1000:.0f} ms after it applied the command",
        )

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


def _text(position: Position) -> str:
    return f"[{position[0]}, {position[1]}]"


def _short(what: str | Sequence[object]) -> str:
    text = repr(what)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


register_copies(globals())
