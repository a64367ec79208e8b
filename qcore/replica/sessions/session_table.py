"""The session table: a retried command is applied once and gets the recorded reply (dissertation 6.3).

The table is part of the replicated state. Only log entries change it, by their index and their times, so it is the same
on every replica, and snapshots contain it. A client opens a session through the log; the index of that entry is the
session's id. Each command in it has a sequence number. The table keeps a reply until the client acknowledges it. A
session ends when it has been idle for its whole lifetime. The least recently used sessions end when there are too many
of them, or when all replies together are too large. A command of an ended session is an explicit error and is never
silently applied twice.

The clock for lifetimes depends on the active apply rules (`qcore.core.version`):

| rules | clock for lifetimes | sessions that a session entry drops |
|---|---|---|
| 1 | log time, `Entry.time_us` | from the least recently used on, up to the first that has not expired |
| from 2 on | the cluster clock, `Entry.clock_us`, which runs only while there is a leader | all that have expired |

At the entry that raises the rules to 2, every lifetime begins again (`SessionTable.begin_rules_2`).

From rules 3 on:

- The bounds on replies count bytes, as a snapshot holds them. Under earlier rules they count characters.
- A result that is too large to be sent is recorded as the error that replaces it
  (`qcore.replica.machine_results`).
- Numbers have at most 63 bits.
- One entry drops at most `MAX_EXPIRED_PER_ENTRY` expired sessions, in the order of their expiry. The next entries drop
  the rest, and a command of one of these is rejected until then. The leader's ticks continue until all are dropped.

Both sizes of the replies are kept under all rules, so the raise to 3 costs nothing.

Entries of kind `session` hold one JSON list:

| data | meaning |
|---|---|
| `["open", lifetime_ms]` | open a session; the result is its id |
| `["keep", session]` | keep the session alive |
| `["close", session]` | close the session |
| `["run", session, sequence, acknowledged, command]` | apply the command once; forget replies up to `acknowledged` |
| `["tick"]` | from rules 2 on, from the leader itself: drop expired sessions (`qcore.replica.sessions.ticks`) |

A client cannot request a tick. If it could, a tick would only drop sessions that have expired by the entry's clock.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import OrderedDict
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from pydantic_core import from_json

from qcore.compiled_build import register_copies
from qcore.core.entry import Entry
from qcore.core.log.compressed_text import SnapshotText
from qcore.core.version import FIRST_VERSION, LATEST_RULES
from qcore.errors import QcoreError, SequenceRefused, SessionExpired, StoreError
from qcore.machines.interface import AppliesCommands, ApplyContext
from qcore.replica.access.grants import denied
from qcore.replica.machine_results import Result, result_of_command, within_bound
from qcore.replica.sessions.client_session import Session
from qcore.replica.sessions.session_text import read_table, table_text

#: Bounds of the table. Part of the replicated rules: the same on every replica, not configuration.
MAX_SESSIONS: Final = 10_000
MAX_REPLIES: Final = 256
#: The largest size of all replies: bytes from rules 3 on (`Session.size_bytes`), characters before.
MAX_REPLY_BYTES = 64 * 1024 * 1024
#: The share of one session. A session that holds this much may send no more commands.
MAX_SESSION_REPLY_BYTES = MAX_REPLY_BYTES // 16
LIFETIME_MIN_MS, LIFETIME_MAX_MS = 1_000, 24 * 3_600_000
#: From rules 3 on: how many expired sessions one entry drops at most.
MAX_EXPIRED_PER_ENTRY: Final = 256
#: From rules 3 on: numbers in an entry are at least 0 and below this.
NUMBER_LIMIT: Final = 2**63

#: The data of the entry that the leader appends when an expiry is due.
SESSION_TICK: Final = '["tick"]'


def digest_of_table(text: str) -> str:
    """The digest of `SessionTable.text`."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if text else ""


ApplyOutcome = tuple[str | None, QcoreError | None]


class SessionTable:
    """All open sessions, least recently used first.

    Attributes:
        uses_cluster_clock: lifetimes run by the cluster clock: True from rules 2 on.
    """

    def __init__(self) -> None:
        self._sessions: OrderedDict[int, Session] = OrderedDict()
        #: The sessions that hold replies, in the same order.
        self._with_replies: OrderedDict[int, None] = OrderedDict()
        self._characters = self._size_bytes = 0
        #: Each dump raises it. A session of an older generation is part of a dump, and is copied before it changes.
        self._generation = 0
        self.uses_cluster_clock = False
        #: From rules 2 on, a heap of (time of expiry at the earliest, session), at least one item for each session. If
        #: a session was used since, its item is too early and is replaced when its time comes. Derived from the table,
        #: not part of the state.
        self._expiries: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._sessions)

    def apply(
        self, entry: Entry, machine: AppliesCommands, context: ApplyContext, owner: int = 0
    ) -> ApplyOutcome:
        """Apply an entry of kind `session`; return its result or its error, the same on every replica.

        Args:
            entry: the entry.
            machine: the state machine.
            context: for the machine. Without permissions in it, there are no users.
            owner: the log index at which the user of the entry was created; 0 if there is no such user.
        """
        rules = context.rules
        time_us = self._expire_by(entry, rules)
        try:
            request = _parse(entry.data, rules)
        except ValueError as error:
            return None, StoreError(f"not a session request: {error}")
        if isinstance(request, _SessionTick):
            return "null", None
        permissions = context.permissions
        if permissions is not None and not owner:
            return None, denied(entry.user, "a user")
        if isinstance(request, _Open):
            if permissions is not None and not permissions.may("write"):
                return None, denied(entry.user, "the action `write`")
            return self._open(entry.index, request.lifetime_ms, time_us, owner)
        held = self._sessions.get(request.session_id)
        if held is not None and held.owner != owner:
            # Not a denial: a client whose first session is from before there were users opens another one.
            return None, _expired(request.session_id)
        session = self._touch(request.session_id, time_us)
        if session is None:
            return None, _expired(request.session_id)
        if isinstance(request, _Run):
            self._uncount(session)
            outcome = _run(session, request, context, machine)
            self._count(request.session_id, session)
            if self._reply_size(rules) > MAX_REPLY_BYTES:
                self._evict(request.session_id, rules)
            return outcome
        if isinstance(request, _Close):
            self._drop(request.session_id)
        return "null", None

    def dump(self, rules: int) -> Iterator[str]:
        """The table at the time of this call, as text for a snapshot of these rules, in parts of bounded size.

        The parts may be read later, after more entries were applied. A session that changes before that is copied
        first, so the call costs no more than a list of the sessions.
        """
        self._generation += 1
        return table_text([*self._sessions.items()], rules)

    def text(self) -> str:
        """The table as text: equal on all replicas that have applied the same index; empty if there is no session."""
        if not self._sessions:
            return ""
        return "".join(table_text([*self._sessions.items()], LATEST_RULES))

    def digest(self) -> str:
        """The digest of this text; empty if there is no session."""
        return digest_of_table(self.text())

    def begin_rules_2(self, clock_us: int) -> None:
        """The entry that raises the rules to 2 is applied: every lifetime begins again, by the cluster clock.

        Args:
            clock_us: the cluster clock of this entry.
        """
        for session_id in [*self._sessions]:
            self._copy_on_write(session_id).last_used_us = clock_us
        self.uses_cluster_clock = True
        self._rebuild_expiries()

    def on_restored(self, rules: int) -> None:
        """The table was loaded from a snapshot of these rules."""
        self.uses_cluster_clock = rules >= 2
        self._rebuild_expiries()

    def next_expiry_us(self) -> int | None:
        """From rules 2 on, the cluster clock at which the next session expires; None if there is no session."""
        expiries, sessions = self._expiries, self._sessions
        while expiries:
            due, session_id = expiries[0]
            session = sessions.get(session_id)
            if session is None:
                heapq.heappop(expiries)
            elif session.expires_at_us() > due:
                heapq.heapreplace(expiries, (session.expires_at_us(), session_id))
            else:
                return due
        return None

    def load(self, text: SnapshotText, at: int = 0) -> Generator[None, None, int]:
        """Replace the table by the one at this position of a snapshot's text; each item is a bounded part of the work.

        Call `on_restored` after the last item.

        Returns:
            the position at which the state machine's text begins.

        Raises:
            ValueError: the text does not begin with a table.
        """
        self._sessions.clear()
        self._with_replies.clear()
        self._characters = self._size_bytes = 0
        return (yield from read_table(text, self._add, at))

    def _add(self, session_id: int, session: Session) -> None:
        """Add the next session of a snapshot."""
        session.generation = self._generation
        self._sessions[session_id] = session
        self._count(session_id, session)

    def _copy_on_write(self, session_id: int) -> Session:
        """The session as an object that may be changed because no dump holds it."""
        session = self._sessions[session_id]
        if session.generation != self._generation:
            session = self._sessions[session_id] = session.copy(self._generation)
        return session

    def _reply_size(self, rules: int) -> int:
        """The size of all replies under these rules."""
        return self._size_bytes if rules >= 3 else self._characters

    def _count(self, session_id: int, session: Session) -> None:
        """Add the session's replies to the totals; it is the most recently used session."""
        self._characters += session.characters
        self._size_bytes += session.size_bytes
        if session.replies:
            self._with_replies[session_id] = None
        else:
            self._with_replies.pop(session_id, None)

    def _uncount(self, session: Session) -> None:
        self._characters -= session.characters
        self._size_bytes -= session.size_bytes

    def _open(self, session_id: int, lifetime_ms: int, time_us: int, owner: int) -> ApplyOutcome:
        lifetime_ms = min(max(lifetime_ms, LIFETIME_MIN_MS), LIFETIME_MAX_MS)
        session = self._sessions[session_id] = Session(
            lifetime_ms, time_us, generation=self._generation, owner=owner
        )
        while len(self._sessions) > MAX_SESSIONS:
            self._drop(next(iter(self._sessions)))
        if self.uses_cluster_clock:
            heapq.heappush(self._expiries, (session.expires_at_us(), session_id))
            if len(self._expiries) > 2 * len(self._sessions) + 64:
                self._rebuild_expiries()  # most items are of sessions that were closed early
        return str(session_id), None

    def _touch(self, session_id: int, time_us: int) -> Session | None:
        session = self._sessions.get(session_id)
        if session is None:
            return None
        if session.expired(time_us):
            self._drop(session_id)
            return None
        session = self._copy_on_write(session_id)
        session.last_used_us = time_us
        self._sessions.move_to_end(session_id)
        if session_id in self._with_replies:
            self._with_replies.move_to_end(session_id)
        return session

    def _expire_by(self, entry: Entry, rules: int) -> int:
        """Drop the sessions that have expired at this entry; return the time by which lifetimes run."""
        if rules < 2:
            self._expire_in_order(entry.time_us)
            return entry.time_us
        if not self.uses_cluster_clock:  # the table was neither raised to rules 2 nor restored
            self.on_restored(rules)
        clock_us, left = (
            entry.clock_us,
            MAX_EXPIRED_PER_ENTRY if rules >= 3 else len(self._sessions),
        )
        while left and (due := self.next_expiry_us()) is not None and due <= clock_us:
            self._drop(heapq.heappop(self._expiries)[1])
            left -= 1
        return clock_us

    def _rebuild_expiries(self) -> None:
        self._expiries = []
        if self.uses_cluster_clock:
            self._expiries = [(held.expires_at_us(), key) for key, held in self._sessions.items()]
            heapq.heapify(self._expiries)

    def _expire_in_order(self, time_us: int) -> None:
        """Rules 1: drop expired sessions, least recently used first.

        A session with a longer lifetime may shield others for a while. They are still rejected when used.
        """
        while self._sessions:
            oldest = next(iter(self._sessions))
            if not self._sessions[oldest].expired(time_us):
                return
            self._drop(oldest)

    def _evict(self, kept: int, rules: int) -> None:
        """Drop the least recently used sessions that hold replies, until the others fit."""
        while self._reply_size(rules) > MAX_REPLY_BYTES:
            oldest = next(iter(self._with_replies), kept)
            if oldest == kept:  # the most recently used one
                return
            self._drop(oldest)

    def _drop(self, session_id: int) -> None:
        self._uncount(self._sessions.pop(session_id))
        self._with_replies.pop(session_id, None)


def _run(
    session: Session, request: _Run, context: ApplyContext, machine: AppliesCommands
) -> ApplyOutcome:
    sequence = request.sequence
    session.acknowledge(request.acknowledged)
    recorded = session.replies.get(sequence)
    if recorded is not None:
        return _outcome(recorded)
    if sequence <= session.acknowledged_through:
        return None, SequenceRefused(
            f"number {sequence} was acknowledged, up to {session.acknowledged_through}: its reply is gone"
        )
    if len(session.replies) >= MAX_REPLIES:
        return None, SequenceRefused(
            f"{MAX_REPLIES} replies are not acknowledged: acknowledge them before sending more"
        )
    held = session.reply_size(context.rules)
    if held >= MAX_SESSION_REPLY_BYTES:
        return None, SequenceRefused(
            f"{len(session.replies)} replies of {held} bytes are not acknowledged: acknowledge them "
            "before sending more"
        )
    permissions = context.permissions
    result: Result
    if permissions is not None and not permissions.may("write"):
        result = denied(permissions.user, "the action `write`")
    else:
        result = result_of_command(machine.apply(request.command, context))
    if context.rules >= 3:
        result = within_bound(result)
    session.record(sequence, result)
    return _outcome(result)


def _outcome(result: Result) -> ApplyOutcome:
    return (result, None) if isinstance(result, str) else (None, result)


def _expired(session_id: int) -> SessionExpired:
    return SessionExpired(
        f"session {session_id} is not open (expired, closed, or pushed out by newer ones); its earlier "
        "commands may have been applied: open a new one and look before repeating them"
    )


@dataclass
class _SessionTick:
    pass


@dataclass
class _Open:
    lifetime_ms: int


@dataclass
class _Keep:
    session_id: int


@dataclass
class _Close:
    session_id: int


@dataclass
class _Run:
    session_id: int
    sequence: int
    acknowledged: int
    command: str


def open_session_payload(lifetime_ms: int) -> str:
    """Payload of a `session` request that opens a session."""
    return json.dumps(["open", lifetime_ms])


def keep_session_payload(session_id: int) -> str:
    """Payload of a `session` request that keeps a session alive."""
    return json.dumps(["keep", session_id])


def close_session_payload(session_id: int) -> str:
    """Payload of a `session` request that closes a session."""
    return json.dumps(["close", session_id])


def session_command_payload(session_id: int, sequence: int, acknowledged: int, command: str) -> str:
    """Payload of a `session` request that applies a command once."""
    return json.dumps(["run", session_id, sequence, acknowledged, command])


def command_in(entry: Entry) -> str | None:
    """The state machine's command in an entry: its data, or the command that a session runs; None if there is none."""
    if entry.kind == "command":
        return entry.data
    return command_of_session(entry.data) if entry.kind == "session" else None


def command_of_session(data: str) -> str | None:
    """The state machine's command that an entry of kind `session` runs; None if there is none."""
    # An entry that runs a command has the same form under all rules.
    with suppress(ValueError):
        request = _parse(data, FIRST_VERSION.rules)
        return request.command if isinstance(request, _Run) else None
    return None


def _parse(data: str, rules: int) -> _Open | _Keep | _Close | _Run | _SessionTick:
    """The request in an entry. Raises ValueError if these rules have no such request."""
    request = from_json(data)
    if rules >= 3 and isinstance(request, list):
        for value in request:
            if isinstance(value, bool) or (
                isinstance(value, int) and not 0 <= value < NUMBER_LIMIT
            ):
                raise ValueError("a number is negative or has more than 63 bits, or is none")
    match request:
        case ["open", int() as lifetime_ms]:
            return _Open(lifetime_ms)
        case ["keep", int() as session_id]:
            return _Keep(session_id)
        case ["close", int() as session_id]:
            return _Close(session_id)
        case [
            "run",
            int() as session_id,
            int() as sequence,
            int() as acknowledged,
            str() as command,
        ]:
            return _Run(session_id, sequence, acknowledged, command)
        case ["tick"] if rules >= 2:
            return _SessionTick()
    raise ValueError("expected one of open, keep, close, run with its arguments")


register_copies(globals())
