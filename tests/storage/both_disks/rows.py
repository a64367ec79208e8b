"""The table: which fault, when, what the node sees, and what the next start finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final, Literal, Protocol

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, Write
from qcore.core.entry import DurableState, HardState
from qcore.errors import StorageError
from tests.storage.support.directories import command, snapshot

#: The events that a disk reports: durable writes, a full disk, space again, and an error that stops the node.
Event = str
DURABLE: Final = "durable"
SPACE: Final = "space"

#: Small enough for the simulated disk and large enough for several pages of the real one.
ENTRY_BYTES: Final = 3000
BEFORE: Final = (1, 2, 3, 4, 5, 6)
BATCH: Final = (7, 8)


class DiskUnderTest(Protocol):
    """What the table needs from a disk."""

    def submit(self, writes: list[Write]) -> None:
        """Pass writes to the disk; their outcome is an event."""
        ...

    def next_event(self) -> Event:
        """Wait for the next event: `durable`, `space`, or the class of an error."""
        ...

    def is_quiet(self) -> bool:
        """Whether no further event comes."""
        ...

    def inject(self, fault: str) -> None:
        """From now on operations fail: `sync`, `write` or `read` with EIO, or `full`."""
        ...

    def mend(self) -> None:
        """End the failures."""
        ...

    def lose_power(self, writes: list[Write], reached: str) -> None:
        """The power fails while these writes are on their way. `reached` is what is on the disk: none, half or all."""
        ...

    def damage(self, place: str) -> None:
        """Stop the process and flip a bit: in `entry N` or in `snapshot`."""
        ...

    def start(self) -> DurableState:
        """Kill the process if it runs, and load what the disk holds."""
        ...


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        fault: what is wrong.
        when: during a `write` of a running process, during a `power` loss, or at a `start`.
        events: what the disk reports about the writes.
        start: the class of the error of the next start; empty if it works.
        named: a text that this error contains.
        kept: what the next start finds: the batch with all before it (`all`), only what was before (`before`),
            or either of them (`either`).
    """

    fault: str
    when: Literal["write", "power", "start"]
    events: tuple[Event, ...] = ()
    start: str = ""
    named: str = ""
    kept: Literal["all", "before", "either", "nothing"] = "before"

    def __str__(self) -> str:
        return f"{self.when}: {self.fault}"


ROWS: Final = (
    Row("nothing", "write", (DURABLE,), kept="all"),
    # An error of a write or sync stops the node. Nothing more is reported, also when the disk works again.
    Row("sync", "write", ("StorageError",), kept="either"),
    Row("write", "write", ("StorageError",), kept="before"),
    # A full disk does not: the writes wait.
    Row("full", "write", ("DiskFull", SPACE, DURABLE), kept="all"),
    # A batch is on the disk as a whole or not at all.
    Row("none", "power", kept="before"),
    Row("half", "power", kept="before"),
    Row("all", "power", kept="all"),
    # An I/O error is not damage: the data is whole once the disk can be read.
    Row("read", "start", start="StorageError", named="I/O error", kept="before"),
    # Damage is refused, with its place; nothing is cut away silently.
    Row("entry 3", "start", start="LogCorrupt", named="entry 3", kept="nothing"),
    Row("entry 6", "start", start="LogCorrupt", named="entry 6", kept="nothing"),
    Row(
        "snapshot",
        "start",
        start="LogCorrupt",
        named="the snapshot through entry 2",
        kept="nothing",
    ),
)


@dataclass
class Outcome:
    """What happened in one row: see `Row`."""

    events: list[Event]
    start: str = ""
    text: str = ""
    entries: list[int] | None = None
    changed: bool = False

    def as_object(self) -> dict[str, object]:
        return asdict(self)


def append(indexes: tuple[int, ...]) -> list[Write]:
    return [AppendLog(indexes[0], [command(i, size=ENTRY_BYTES) for i in indexes])]


def run_row(row: Row, disk: DiskUnderTest) -> Outcome:
    """Fill the disk, inject the fault, and start from what is left."""
    disk.submit(
        [
            SaveHardState(1, HardState(2, 1, 0)),
            *append(BEFORE),
            StoreSnapshot(8, snapshot(2), 1, False),
        ]
    )
    assert disk.next_event() == DURABLE
    outcome = Outcome([])
    if row.when == "write":
        disk.inject(row.fault)
        disk.submit(append(BATCH))
        outcome.events.append(disk.next_event())
        disk.mend()
        while outcome.events[-1] in ("DiskFull", SPACE):
            outcome.events.append(disk.next_event())
        if not disk.is_quiet():
            outcome.events.append("and more")
    elif row.when == "power":
        disk.lose_power(append(BATCH), row.fault)
    elif row.fault == "read":
        disk.inject("read")
    else:
        disk.damage(row.fault)
    _start(disk, outcome)
    if row.fault == "read":
        disk.mend()
        _load(disk.start(), outcome)
    return outcome


def _start(disk: DiskUnderTest, outcome: Outcome) -> None:
    try:
        _load(disk.start(), outcome)
    except StorageError as error:
        outcome.start, outcome.text = type(error).__name__, str(error)


def _load(state: DurableState, outcome: Outcome) -> None:
    outcome.entries = [entry.index for entry in state.entries]
    outcome.changed = (
        state.entries != [command(i, size=ENTRY_BYTES) for i in outcome.entries]
        or state.snapshot != snapshot(2)
        or state.hard_state.term != 2
    )
