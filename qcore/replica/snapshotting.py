"""When to snapshot, and how to capture a large state machine without stopping the node.

The machine is frozen at one index by a call that costs little; its text is then drawn one chunk
a step, so that heartbeats and requests go on in between.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from zlib import crc32

from qcore.core.entry import Entry
from qcore.core.events import SnapshotTaken
from qcore.core.server import NEVER
from qcore.core.text import lone_surrogate
from qcore.core.version import FIRST_VERSION, ClusterVersion
from qcore.errors import StateMachineFailed
from qcore.replica.config import ReplicaConfig
from qcore.replica.sessions import SessionTable
from qcore.store.interface import RestoresGradually, StateMachine

#: The pause between two chunks, µs.
_PAUSE_US = 1_000
#: A text with more characters is not joined and handed over in the same step.
_LARGE_CHARS = 4 * 1024 * 1024
#: Chunks of such a text that are let go of in one step.
_RELEASED_AT_A_TIME = 64
#: Characters that a machine is given at a time when it restores a snapshot.
_RESTORE_CHARS = 64 * 1024


class Snapshotting:
    """Decides when, and draws the text of, one snapshot at a time."""

    def __init__(self, config: ReplicaConfig, covered_index: int) -> None:
        self._config = config
        self._has_policy = bool(config.snapshot_entries or config.snapshot_bytes)
        self._covered_index = covered_index
        self._bytes_since = 0
        self._chunks: Iterator[str] | None = None
        self._drawn: list[str] = []
        self._text: str | None = None
        self._checksum = 0
        self._index = 0
        self._keep_entries = 0
        self._version = FIRST_VERSION
        self._next_draw = NEVER

    @property
    def active(self) -> bool:
        """Whether there is anything to look after: a policy, or a snapshot being captured."""
        return self._has_policy or self._chunks is not None

    @property
    def capturing(self) -> bool:
        return self._chunks is not None

    def next_deadline(self) -> int:
        """When to draw on, µs."""
        return self._next_draw

    def applied(self, entry: Entry) -> None:
        """Count an applied entry towards the policy."""
        self._bytes_since += entry.size_bytes()

    def due(self, applied_index: int) -> bool:
        """True if the policy asks for a snapshot now."""
        config = self._config
        if self.capturing or applied_index <= self._covered_index:
            return False
        entries = applied_index - self._covered_index
        return (0 < config.snapshot_entries <= entries) or (
            0 < config.snapshot_bytes <= self._bytes_since
        )

    def begin(
        self,
        machine: StateMachine,
        sessions: SessionTable,
        applied_index: int,
        keep_entries: int,
        version: ClusterVersion,
        now: int,
    ) -> None:
        """Freeze the state as of `applied_index`, with the version of the cluster then.

        Raises:
            StateMachineFailed: the machine raised instead.
        """
        table = sessions.dump(version.rules)
        self._chunks = chain(table, _captured(machine))
        self._drawn = []
        self._text = None
        self._checksum = 0
        self._draw(next(table))
        self._index = applied_index
        self._keep_entries = keep_entries
        self._version = version
        self._bytes_since = 0
        self._next_draw = now

    def draw(self, now: int, *, everything: bool = False) -> SnapshotTaken | None:
        """Draw some chunks, or all; returns the snapshot when it is complete.

        Raises:
            StateMachineFailed: the machine raised instead of giving the next one.
        """
        if self._chunks is None or (now < self._next_draw and not everything):
            return None
        for chunk in self._chunks:
            self._draw(chunk)
            if not everything:
                self._next_draw = now + _PAUSE_US
                return None
        if self._text is None:
            self._text = "".join(self._drawn)
        if len(self._text) > _LARGE_CHARS and self._drawn and not everything:
            # To join tens of megabytes takes long enough: let go of the pieces in steps of their own.
            del self._drawn[-_RELEASED_AT_A_TIME:]
            self._next_draw = now + _PAUSE_US
            return None
        taken = SnapshotTaken(
            self._index, self._text, self._keep_entries, self._checksum, version=self._version
        )
        self.abandon()
        self._covered_index = self._index
        return taken

    def _draw(self, text: str) -> None:
        self._drawn.append(text)
        self._checksum = crc32(text.encode(), self._checksum)

    def abandon(self) -> None:
        """Forget what was drawn: a snapshot from the leader took the state's place."""
        self._chunks = None
        self._drawn = []
        self._text = None
        self._next_draw = NEVER

    def restored(self, index: int) -> None:
        """The state is now that of a snapshot through `index`."""
        self.abandon()
        self._covered_index = index
        self._bytes_since = 0


def _captured(machine: StateMachine) -> Iterator[str]:
    """The machine's snapshot as of now, drawn later."""
    try:
        chunks = machine.snapshot()
    except Exception as raised:  # the boundary to the user's own code
        raise _no_snapshot(raised) from raised
    # Text is an iterable of its characters, which would be drawn one by one.
    return _checked(_guarded([chunks] if isinstance(chunks, str) else chunks))


def _checked(chunks: Iterable[object]) -> Iterator[str]:
    """The chunks, each as text that can be stored and sent."""
    for number, chunk in enumerate(chunks, start=1):
        if not isinstance(chunk, str):
            raise _bad_snapshot(f"is no text but of the type {type(chunk).__name__}", number)
        at = lone_surrogate(chunk)
        if at is not None:
            raise _bad_snapshot(
                f"has a lone surrogate, U+{ord(chunk[at]):04X}, at character {at}", number
            )
        yield chunk


def _bad_snapshot(fault: str, number: int) -> StateMachineFailed:
    return StateMachineFailed(
        f"chunk {number} of the state machine's snapshot {fault}; this node stops, and nothing of the snapshot was "
        "stored: a snapshot must be text that can be written as UTF-8"
    )


def _guarded(chunks: Iterable[str]) -> Iterator[str]:
    try:
        yield from chunks
    except Exception as raised:  # the boundary to the user's own code
        raise _no_snapshot(raised) from raised


def _no_snapshot(raised: Exception) -> StateMachineFailed:
    return StateMachineFailed(
        f"taking a snapshot raised {type(raised).__name__}: {raised}; this node stops: the state machine must give "
        "its state whenever it is asked to"
    )


def restore_snapshot(data: str, machine: StateMachine, sessions: SessionTable) -> Iterator[None]:
    """Give sessions and machine the state that `Snapshotting` drew, a bounded part for each item.

    Raises:
        StateMachineFailed: the text is none that they understand.
    """
    with _restoring():
        begin = yield from sessions.load(data)
        yield from _restore_machine(data, begin, machine)


def try_restoring(data: str, machine: StateMachine) -> None:
    """Whether the machine understands the text of a snapshot. It is left with a part of that state.

    Of a machine that restores gradually, only the first part is tried.

    Raises:
        StateMachineFailed: it does not.
    """
    with _restoring():
        begin = _last_value(SessionTable().load(data))
        next(_restore_machine(data, begin, machine), None)


def _restore_machine(data: str, begin: int, machine: StateMachine) -> Iterator[None]:
    starts = range(begin, len(data), _RESTORE_CHARS)
    chunks = (data[start : start + _RESTORE_CHARS] for start in starts)
    if isinstance(machine, RestoresGradually):
        yield from machine.restore_gradually(chunks)
    else:
        machine.restore(chunks)


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
    except Exception as raised:  # the boundary to the user's own code
        raise StateMachineFailed(
            f"restoring a snapshot raised {type(raised).__name__}: {raised}; this node stops: does it run another "
            "version of the state machine than the node that took the snapshot?"
        ) from raised
