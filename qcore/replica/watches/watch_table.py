"""`Watches`: the clients of one replica that watch the changes of its state machine.

A watch without a position first goes through a read round, like a read at this node (dissertation 6.4). So it begins
behind everything that was acknowledged before, also at a follower. A watch with a position needs no quorum: the replica
waits until it has applied that index, and reads what follows from its history.

Afterwards each change goes to the watches of its topics right after the entry is applied, before the next one.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from qcore.compiled_build import register_copies
from qcore.core.entry import Entry
from qcore.errors import (
    DeadlineExceeded,
    Overloaded,
    PermissionDenied,
    QcoreError,
    Refused,
    StateMachineFailed,
    StoreError,
    TooLarge,
    WatchCompacted,
)
from qcore.machines.interface import (
    ApplyContext,
    Change,
    StateMachine,
    StateReplaced,
    SupportsChanges,
    SupportsWatchPermissions,
    SupportsWatchRequests,
    SupportsWorkCost,
    WatchFilter,
    expiring_part,
)
from qcore.replica.access.access_table import AccessTable
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import BeginWatch, EndWatch, Notice, WatchEnded
from qcore.replica.machine_results import exception_text, result_of_query
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.flow_control import retry_after_ms
from qcore.replica.requests.pending import PendingRequest
from qcore.replica.requests.reads import Reads
from qcore.replica.watches.catch_up import ByTopic, CatchUp, Watch, add_watch, remove_watch
from qcore.replica.watches.change_history import (
    LAST_SEQUENCE,
    MachineHistory,
    Position,
    history_of,
)

#: The longest request to watch, characters.
MAX_REQUEST_CHARS: Final = 64 * 1024
#: How many watches with a position one step begins. The next steps begin the others.
MAX_BEGUN_PER_STEP: Final = 512
#: A notice costs as much as looking up this many topics; and that many notices cost as much as one small command.
_NOTICE_COST: Final = 8
#: A command that changed nothing.
NO_CHANGES: Final[Sequence[Change]] = ()
_COMMAND_COST: Final = _NOTICE_COST**2
#: As many characters of its text cost as much as a notice.
_CHARACTERS_PER_NOTICE: Final = 1024
#: The most that the notices of one entry cost before the next entry is applied: that of 16,384 small ones. The watches
#: that are left receive the entry from the history, in the next steps.
MAX_LIVE_COST: Final = 16_384 * _NOTICE_COST


class ChangeRecorder:
    """Applies commands, and remembers what the last one changed.

    Args:
        machine: the state machine.

    Attributes:
        changes: what the last command changed. The reader replaces them by `NO_CHANGES`.
    """

    def __init__(self, machine: StateMachine) -> None:
        self._apply: Callable[[str, ApplyContext], object] = machine.apply
        self._machine = machine if isinstance(machine, SupportsChanges) else None
        self._expiring = expiring_part(machine)
        self.changes: Sequence[Change] = NO_CHANGES

    def expire(self, context: ApplyContext) -> None:
        """The clock of an entry is that of the context: remove what has expired."""
        expiring = self._expiring
        if expiring is not None:
            due = expiring.next_expiry_us()
            if due is not None and due <= context.clock_us:
                self.apply(expiring.expiry_command, context)

    def apply(self, command: str, context: ApplyContext) -> object:
        """See `StateMachine.apply`."""
        result = self._apply(command, context)
        if self._machine is not None:
            # The history keeps them, so they must not change with the machine's own list.
            self.changes = tuple(self._machine.last_changes())
        return result


@dataclass(eq=False)
class _Beginning:
    """A request to watch without an outcome."""

    event: BeginWatch
    request: PendingRequest


@dataclass
class _Topic:
    """The filter of a machine that has none: every change of one topic."""

    topic: str

    def notice(self, change: Change, *, live: bool) -> str | None:
        """See `WatchFilter`."""
        return change.body


class Watches:
    """The watches of one replica, and the history for those that resume.

    Args:
        replica: the replica.
        reads: confirms that the state is recent.
        machine: the state machine.
        config: the bounds.
        access: what the users may read.
    """

    def __init__(
        self,
        replica: ReplicaContext,
        reads: Reads,
        machine: StateMachine,
        config: ReplicaConfig,
        access: AccessTable,
    ) -> None:
        self._replica = replica
        self._reads = reads
        self._machine = machine
        self._access = access
        self._max_watches = config.max_watches
        self._longest_hint_us = config.raft.election_timeout_max_ms * 1000
        self.history = history_of(machine, config.watch_history_changes, config.watch_history_bytes)
        #: The last index whose changes the live watches have received.
        self._live_through = 0
        self._catch_up = CatchUp(
            self.history, self._notify_late, self._caught_up, self._history_lost
        )
        self._beginning: dict[int, _Beginning] = {}
        self._by_request: dict[PendingRequest, _Beginning] = {}
        #: Requests that wait for an index: the index, an order, the request.
        self._behind: list[tuple[int, int, _Beginning]] = []
        self._order = 0
        self._watches: dict[int, Watch] = {}
        self._live: ByTopic = {}

    def __len__(self) -> int:
        return len(self._watches)

    @property
    def unfinished(self) -> bool:
        """Whether a watch waits for an index, or reads old changes."""
        return bool(self._behind) or self._catch_up.busy

    @property
    def busy(self) -> bool:
        """Whether the next step has work here, unless a snapshot is being restored."""
        return self._catch_up.busy or self._may_begin

    @property
    def _may_begin(self) -> bool:
        return bool(self._behind) and self._behind[0][0] <= self._replica.readable_index

    # -- requests --------------------------------------------------------------------------------

    def begin(self, event: BeginWatch) -> None:
        """Accept a request to watch; it ends in one `Reply`."""
        replica = self._replica
        request = replica.start_request(event.request_id, event.timeout_ms)
        request.kind = "watch"
        rejection = replica.state_error() or self._rejection(event)
        if rejection is not None:
            replica.fail(request, rejection)
            return
        held = self._beginning[event.watch_id] = _Beginning(event, request)
        self._by_request[request] = held
        if event.after is None:
            self._reads.begin(request)
            return
        index, sequence = event.after
        self._order += 1
        reached = max(0, index - (sequence < 0))
        heapq.heappush(self._behind, (reached, self._order, held))
        if len(self._behind) > 64 + 2 * len(self._beginning):
            # Most have their outcome, and wait for indexes that this node may never reach.
            self._behind = [item for item in self._behind if item[2].request in self._by_request]
            heapq.heapify(self._behind)

    def _rejection(self, event: BeginWatch) -> QcoreError | None:
        if not isinstance(self._machine, SupportsChanges):
            return Refused(
                f"the state machine {self._machine.name!r} does not report what its commands change, so it cannot be "
                "watched: give it the method last_changes (qcore.machines.SupportsChanges)"
            )
        if len(event.request) > MAX_REQUEST_CHARS:
            return TooLarge(
                f"the request to watch has {len(event.request)} characters; the limit is {MAX_REQUEST_CHARS}"
            )
        held = len(self._watches) + len(self._beginning)
        if held >= self._max_watches:
            hint = retry_after_ms(self._longest_hint_us, self._longest_hint_us)
            return Overloaded.because(
                f"this node has {held} watches, as many as it may (max_watches)", hint
            )
        return None

    def confirmed(self, request: PendingRequest) -> None:
        """The state holds everything that the request must see: begin to watch from here on."""
        held = self._by_request.get(request)
        if held is None:
            return  # the watch was ended meanwhile
        found = self._filter(held)
        if found is not None:
            watch = _new_watch(held, found, (self._replica.applied_index + 1, -1))
            self._watches[watch.watch_id] = watch
            add_watch(self._live, watch)
            self._succeed(held, watch)

    def _resume(self, held: _Beginning) -> None:
        """The state has reached the request's position: begin to read the history behind it."""
        after = held.event.after
        assert after is not None, "a request without a position goes through a read round"
        if after < self.history.dropped:
            self._forget(held)
            self._replica.fail(held.request, self._compacted())
            return
        found = self._filter(held)
        if found is not None:
            watch = _new_watch(held, found, after)
            self._watches[watch.watch_id] = watch
            self._catch_up.add(watch)
            self._succeed(held, watch)

    def _filter(self, held: _Beginning) -> tuple[WatchFilter, str] | None:
        """What the watch receives, and its topic; None if the request is rejected."""
        machine, text, user = self._machine, held.event.request, held.event.user
        try:
            denial = self._access.denial(user, "read") if self._access.active else None
            if denial is not None:
                raise denial
            resumes = held.event.after is not None
            if isinstance(machine, SupportsWatchPermissions):
                found = machine.watch_filter_as(
                    text, lambda: self._access.permissions_of(user), resumes=resumes
                )
            elif isinstance(machine, SupportsWatchRequests):
                found = machine.watch_filter(text, resumes=resumes)
            else:
                return _Topic(text), text
            topic: object = found.topic
            if isinstance(topic, str):
                return found, topic
            failure = StoreError(
                f"the state machine failed on the request to watch: the topic is of the type {type(topic).__name__}, "
                "not text"
            )
        except StoreError as error:
            failure = (
                error if exception_text(error) == str(error) else StoreError(exception_text(error))
            )
        except Exception as error:  # noqa: BLE001 - user code; a watch changes nothing
            failure = StoreError(
                f"the state machine failed on the request to watch: {type(error).__name__}: {exception_text(error)}"
            )
        self._forget(held)
        self._replica.fail(held.request, failure)
        return None

    def _succeed(self, held: _Beginning, watch: Watch) -> None:
        self._forget(held)
        self._replica.succeed(held.request, json.dumps(watch.after), self._replica.applied_index)

    def _forget(self, held: _Beginning) -> None:
        del self._beginning[held.event.watch_id]
        del self._by_request[held.request]

    def end(self, event: EndWatch) -> None:
        """End a watch, or a request to watch."""
        watch = self._watches.pop(event.watch_id, None)
        if watch is not None:
            if not self._catch_up.remove(watch):
                remove_watch(self._live, watch)
            return
        held = self._beginning.get(event.watch_id)
        if held is not None:
            self._replica.cancel(held.request, Refused("the watch was ended before it began"))

    def failed(self, request: PendingRequest) -> None:
        """The request has an outcome that was not decided here: nothing of it may remain."""
        held = self._by_request.get(request)
        if held is not None:
            self._forget(held)

    def expire(self, request: PendingRequest) -> QcoreError | None:
        """The error for such a request whose deadline has come; None if the request is not one of these."""
        held = self._by_request.get(request)
        if held is None:
            return None
        self._forget(held)
        after = held.event.after
        if after is None:
            return DeadlineExceeded(
                "no quorum confirmed in time that this node's state is recent: retry, or watch at another node"
            )
        return DeadlineExceeded(
            f"this node has applied index {self._replica.applied_index} and did not reach index {after[0]} in time: "
            "retry, or watch at another node"
        )

    # -- changes ---------------------------------------------------------------------------------

    def applied(self, entry: Entry, changes: Sequence[Change]) -> int:
        """The entry was applied and made these changes. Returns the cost of the notices.

        Raises:
            StateMachineFailed: a change raised.
        """
        index = entry.index
        for change in changes:
            if isinstance(change, StateReplaced):
                self.replaced(index)
                return 0
        self._live_through = index
        try:
            self.history.add(index, changes)
            return self._notify_live(index, changes) if self._live else 0
        except Exception as raised:  # the boundary to user code
            raise _change_failed(f"the changes of entry {index}", raised) from raised

    def _notify_live(self, index: int, changes: Sequence[Change]) -> int:
        live, cost = self._live, 0
        for sequence, change in enumerate(changes):
            if cost >= MAX_LIVE_COST:
                # Even the topics of the rest may be too many to look up in this step.
                self._postpone((index, sequence - 1))
                break
            # A watch receives a change once, whatever topics the machine names.
            topics = dict.fromkeys(change.topics)
            cost += len(topics)
            for topic in topics:
                watches = live.get(topic)
                if watches is None:
                    continue
                for watch in [*watches.values()]:
                    if cost < MAX_LIVE_COST:
                        cost += self._notify(watch, index, sequence, change, live=True)
                    else:
                        remove_watch(live, watch)
                        watch.after = (index, sequence - 1)
                        self._catch_up.add(watch)
        return cost // _COMMAND_COST

    def _postpone(self, after: Position) -> None:
        """Let all watches read the history behind this position."""
        for watches in self._live.values():
            for watch in watches.values():
                watch.after = max(watch.after, after)
                self._catch_up.add(watch)
        self._live.clear()

    def abandon(self, error: QcoreError) -> None:
        """End every watch and every request to watch: the state behind them is wrong."""
        for held in [*self._beginning.values()]:
            self._replica.cancel(held.request, error)
        for watch in [*self._watches.values()]:
            self._fail(watch, error)

    def replaced(self, index: int) -> None:
        """The whole state was replaced by that of this index.

        No watch can go on, unless the state holds what the watches have missed.
        """
        self.history.reset(index)
        if isinstance(self.history, MachineHistory):
            self._postpone((self._live_through, LAST_SEQUENCE))
            return
        self._catch_up.clear()
        self._live.clear()
        watches, self._watches = self._watches, {}
        for watch in watches.values():
            self._replica.emit(WatchEnded(watch.watch_id, self._compacted()))

    def advance(self) -> None:
        """Begin the watches whose position the state has reached, and read a bounded part of the history."""
        left = MAX_BEGUN_PER_STEP
        while self._may_begin and left > 0:
            held = heapq.heappop(self._behind)[2]
            if held.request in self._by_request:
                self._resume(held)
                left -= 1
        if self._catch_up.busy and self._replica.readable_index >= 0:
            try:
                self._catch_up.advance()
            except Exception as raised:  # the boundary to user code
                raise _change_failed("earlier changes", raised) from raised

    def _notify_late(self, watch: Watch, index: int, sequence: int, change: Change) -> int:
        return self._notify(watch, index, sequence, change, live=False) // _NOTICE_COST

    def _notify(
        self, watch: Watch, index: int, sequence: int, change: Change, *, live: bool
    ) -> int:
        """Pass a change to a watch. Returns the cost: `_NOTICE_COST` for a small notice."""
        if watch.watch_id not in self._watches:
            return 1  # it ended with an earlier change of this entry
        denial = self._access.denial(watch.user, "read") if self._access.active else None
        if denial is not None:
            self._fail(watch, denial)
            return _NOTICE_COST
        try:
            body = watch.filter.notice(change, live=live)
        except PermissionDenied as error:
            self._fail(watch, error)
            return _NOTICE_COST
        except Exception as error:  # noqa: BLE001 - user code; a watch changes nothing
            failed = StoreError(
                f"the state machine failed on a notice: {type(error).__name__}: {exception_text(error)}"
            )
            self._fail(watch, failed)
            return _NOTICE_COST
        if body is None:
            return _NOTICE_COST
        text = result_of_query(body)
        if not isinstance(text, str):
            self._fail(watch, text)
            return _NOTICE_COST
        self._replica.emit(Notice(watch.watch_id, index, sequence, text))
        cost = _NOTICE_COST + _NOTICE_COST * len(text) // _CHARACTERS_PER_NOTICE
        return cost if watch.costed is None else cost + _COMMAND_COST * watch.costed.last_cost

    def _fail(self, watch: Watch, error: QcoreError) -> None:
        self.end(EndWatch(watch.watch_id))
        self._replica.emit(WatchEnded(watch.watch_id, error))

    def _caught_up(self, watch: Watch) -> None:
        add_watch(self._live, watch)

    def _history_lost(self, watch: Watch) -> None:
        if self._watches.pop(watch.watch_id, None) is not None:
            self._replica.emit(WatchEnded(watch.watch_id, self._compacted()))

    def _compacted(self) -> WatchCompacted:
        first = self.history.first_index
        return WatchCompacted(
            f"the changes before index {first} are gone: watch without a position, then read the state again",
            first,
        )


def _new_watch(held: _Beginning, found: tuple[WatchFilter, str], after: Position) -> Watch:
    chosen, topic = found
    costed = chosen if isinstance(chosen, SupportsWorkCost) else None
    return Watch(held.event.watch_id, chosen, topic, after, costed, held.event.user)


def _change_failed(what: str, raised: Exception) -> StateMachineFailed:
    return StateMachineFailed(
        f"reading {what} raised {type(raised).__name__}: {exception_text(raised)}; this node stops: topics and size of "
        "a change must not raise"
    )


register_copies(globals())
