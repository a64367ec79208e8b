"""Takes and restores snapshots: decides when one is due, and captures a large state without stopping the node.

One cheap call freezes the state at one index. Each step then reads one chunk of its text, so heartbeats and requests
continue in between.

**Pacing.** One chunk a millisecond is not enough when the log grows faster than that, or when steps are rare. So a step
also reads a byte of the snapshot for every byte that it appends to the log, like the assists of an incremental garbage
collector. A snapshot is complete before the log has grown by the snapshot's size, under any load. A step appends a
bounded number of bytes (a leader proposes no more, and sends no more to a follower), so it reads a bounded number.

**Policy.** A snapshot is due after `snapshot_bytes` of log, or after half the size of the last snapshot if that is
more. Otherwise a state that is much larger than the policy would be written again and again. So snapshots write at most
about twice as much as the log, and the log on disk is at most a small multiple of the policy or the state, whichever is
larger. A quota of the log makes a snapshot due earlier. All bytes are those of UTF-8. Small entries that take much work
to apply count by that work.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from zlib import crc32

from qcore.core.entry import Entry
from qcore.core.events import SnapshotTaken
from qcore.core.log.compressed_text import SnapshotText, text_parts
from qcore.core.log.growing_text import TextBuilder
from qcore.core.raft_server import NEVER
from qcore.core.text_size import lone_surrogate, utf8_length
from qcore.core.version import FIRST_VERSION, ClusterVersion
from qcore.errors import StateMachineFailed
from qcore.machines.interface import StateMachine, SupportsGradualRestore
from qcore.replica.access.access_table import AccessTable
from qcore.replica.config import ReplicaConfig
from qcore.replica.machine_results import exception_text
from qcore.replica.sessions.session_table import SessionTable

#: A snapshot is due after this much work, in units of a small entry's work: some seconds. With a large state it is due
#: later, after work in proportion to its size.
_WORK_BETWEEN = 200_000
#: The pause between two chunks, µs, while nothing is appended.
_PAUSE_US = 1_000
#: How many characters a machine receives at a time when it restores a snapshot.
_RESTORE_CHARS = 64 * 1024


class SnapshotBuilder:
    """Decides when a snapshot is due, and builds its text, one snapshot at a time.

    Args:
        config: the policy.

    Attributes:
        size: bytes of the newest snapshot's text; 0 if there is none, and while one is being restored.
    """

    def __init__(self, config: ReplicaConfig) -> None:
        self._config = config
        self._has_policy = bool(config.snapshot_entries or config.snapshot_bytes)
        #: Whatever the policy: halfway from what a snapshot leaves in the log to the quota.
        self._latest = max(0, (config.log_quota_bytes - config.keep_bytes) // 2)
        self._covered_index = 0
        self._bytes_since = 0
        self._work_since = 0
        self.size = 0
        self._chunks: Iterator[str] | None = None
        self._text = TextBuilder()
        self._built_bytes = 0
        self._appended_bytes = 0
        self._checksum = 0
        self._index = 0
        self._keep_entries = 0
        self._version = FIRST_VERSION
        self._next_chunk_at = NEVER

    @property
    def active(self) -> bool:
        """True if there is a policy, or a snapshot is being captured."""
        return self._has_policy or self._latest > 0 or self._chunks is not None

    @property
    def capturing(self) -> bool:
        return self._chunks is not None

    def next_deadline(self) -> int:
        """When to read the next chunk, µs."""
        return self._next_chunk_at

    def applied(self, entry: Entry, cost: int) -> None:
        """Count an applied entry towards the policy.

        Args:
            cost: its cost in addition to its size, in units of a small entry's work
                (`qcore.replica.apply.apply_backlog`).
        """
        self._bytes_since += entry.size_bytes()
        self._work_since += 1 + cost

    def appended(self, size: int) -> None:
        """The log has grown by `size` bytes: read as much of a snapshot that is being captured."""
        self._appended_bytes += size

    def due(self, applied_index: int) -> bool:
        """True if the policy asks for a snapshot now."""
        config = self._config
        if self.capturing or applied_index <= self._covered_index:
            return False
        entries = applied_index - self._covered_index
        if 0 < config.snapshot_entries <= entries:
            return True
        if 0 < config.snapshot_bytes <= self._bytes_since and self.size <= 2 * self._bytes_since:
            return True
        if 0 < self._latest <= self._bytes_since:
            return True
        # A restart applies the entries after the snapshot again, which must not take long either.
        return self._has_policy and self._work_since >= max(_WORK_BETWEEN, self.size >> 9)

    def begin(
        self,
        machine: StateMachine,
        sessions: SessionTable,
        access: AccessTable,
        applied_index: int,
        keep_entries: int,
        version: ClusterVersion,
        now: int,
    ) -> None:
        """Freeze the state at `applied_index`, with the active version of the cluster.

        Raises:
            StateMachineFailed: the machine raised.
        """
        self.discard()  # first: a new capture may invalidate the one before
        tables = chain(access.dump(), sessions.dump(version.rules))
        self._chunks = chain(tables, _captured(machine))
        self._text = TextBuilder()
        self._built_bytes = self._appended_bytes = self._checksum = 0
        self._add_chunk(next(tables))
        self._index = applied_index
        self._keep_entries = keep_entries
        self._version = version
        self._bytes_since = self._work_since = 0
        self._next_chunk_at = now

    def build_step(self, now: int, *, everything: bool = False) -> SnapshotTaken | None:
        """Read as much as the log has grown, at least one chunk if one is due; return the snapshot once it is complete.

        Args:
            now: µs on the monotonic clock.
            everything: read all that is left.

        Raises:
            StateMachineFailed: the machine raised, or a chunk is not valid text.
        """
        assert self._chunks is not None, "no snapshot was begun"
        if not (everything or self._is_behind_log or now >= self._next_chunk_at):
            return None
        for chunk in self._chunks:
            self._add_chunk(chunk)
            if not (everything or self._is_behind_log):
                self._next_chunk_at = now + _PAUSE_US
                return None
        self.size = self._built_bytes
        taken = SnapshotTaken(
            self._index,
            self._text.build(),
            self._keep_entries,
            self._checksum,
            self._config.keep_bytes,
            self._version,
        )
        self.discard()
        self._covered_index = self._index
        return taken

    @property
    def _is_behind_log(self) -> bool:
        return self._built_bytes < self._appended_bytes

    def _add_chunk(self, text: str) -> None:
        self._text.add(text)
        data = text.encode()
        self._built_bytes += len(data)
        self._checksum = crc32(data, self._checksum)

    def discard(self) -> None:
        """Discard the unfinished snapshot."""
        self._chunks = None
        self._text = TextBuilder()
        self._next_chunk_at = NEVER

    def on_replaced(self, index: int) -> None:
        """A snapshot through `index` replaces the state; set `size` once all of its text is restored."""
        self.discard()
        self._covered_index = index
        self._bytes_since = self._work_since = 0
        self.size = 0


def _captured(machine: StateMachine) -> Iterator[str]:
    """The machine's snapshot of the current state, to be read later."""
    try:
        chunks = machine.snapshot()
    except Exception as raised:  # the boundary to user code
        raise _snapshot_failed(raised) from raised
    # A text is an iterable of characters, which would be read one by one.
    return _checked(_guarded([chunks] if isinstance(chunks, str) else chunks))


def _checked(chunks: Iterable[object]) -> Iterator[str]:
    """The chunks, each as text that can be stored and sent."""
    for number, chunk in enumerate(chunks, start=1):
        if not isinstance(chunk, str):
            raise _invalid_chunk(f"is not text but of the type {type(chunk).__name__}", number)
        at = lone_surrogate(chunk)
        if at is not None:
            raise _invalid_chunk(
                f"has a lone surrogate, U+{ord(chunk[at]):04X}, at character {at}", number
            )
        yield chunk


def _invalid_chunk(fault: str, number: int) -> StateMachineFailed:
    return StateMachineFailed(
        f"chunk {number} of the state machine's snapshot {fault}; this node stops, and nothing of the snapshot was "
        "stored: a snapshot must be text that can be written as UTF-8"
    )


def _guarded(chunks: Iterable[str]) -> Iterator[str]:
    try:
        yield from chunks
    except Exception as raised:  # the boundary to user code
        raise _snapshot_failed(raised) from raised


def _snapshot_failed(raised: Exception) -> StateMachineFailed:
    return StateMachineFailed(
        f"taking a snapshot raised {type(raised).__name__}: {exception_text(raised)}; this node stops: the state "
        "machine must give its state whenever it is asked to"
    )


def restore_snapshot(
    data: SnapshotText, machine: StateMachine, sessions: SessionTable, access: AccessTable
) -> Generator[None, None, int]:
    """Restore users, sessions and machine from the text that `SnapshotBuilder` built, a bounded part for each item.

    Returns:
        bytes of the text. They are counted part by part, because counting a large text takes long.

    Raises:
        StateMachineFailed: the text is not a snapshot that they understand.
    """
    with _restoring():
        begin = yield from access.load(data)
        begin = yield from sessions.load(data, begin)
        size = yield from _restore_machine(data, begin, machine)
        return utf8_length(data[:begin]) + size


def restore_all(restoring: Generator[None, None, int]) -> int:
    """Restore everything in one piece; return the bytes of the text."""
    return _last_value(restoring)


def sessions_in(data: SnapshotText) -> SessionTable:
    """The session table that a node has once it has restored the text of a snapshot.

    Raises:
        StateMachineFailed: the text does not begin with a table.
    """
    table = SessionTable()
    with _restoring():
        _last_value(table.load(data))
    return table


def check_restorable(data: SnapshotText, machine: StateMachine) -> None:
    """Check that the machine understands the text of a snapshot. This leaves a part of that state in the machine.

    If the machine restores gradually, only the first part is tried.

    Raises:
        StateMachineFailed: the machine does not understand it.
    """
    with _restoring():
        begin = _last_value(AccessTable().load(data))
        begin = _last_value(SessionTable().load(data, begin))
        next(_restore_machine(data, begin, machine), None)


def _restore_machine(
    data: SnapshotText, begin: int, machine: StateMachine
) -> Generator[None, None, int]:
    """Restore the machine from character `begin` on; return the bytes of its text."""
    size = 0

    def chunks() -> Iterator[str]:
        nonlocal size
        for chunk in text_parts(data, begin, _RESTORE_CHARS):
            size += utf8_length(chunk)
            yield chunk

    if isinstance(machine, SupportsGradualRestore):
        yield from machine.restore_gradually(chunks())
    else:
        machine.restore(chunks())
    return size


def _last_value(loading: Generator[None, None, int]) -> int:
    while True:
        try:
            next(loading)
        except StopIteration as end:
            return int(end.value)


@contextmanager
def _restoring() -> Iterator[None]:
    try:
        yield
    except Exception as raised:  # the boundary to user code
        raise StateMachineFailed(
            f"restoring a snapshot raised {type(raised).__name__}: {exception_text(raised)}; this node stops: does "
            "it run another version of the state machine than the node that took the snapshot?"
        ) from raised
