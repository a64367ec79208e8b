"""The operations that are tested while system calls fail. Each reports what was acknowledged."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, Write
from qcore.core.entry import Entry, HardState, Membership, Snapshot
from qcore.core.log.durable_state import last_index
from qcore.errors import DiskFull, StorageError
from qcore.node.joining_storage import JoiningStorage
from qcore.storage.files.snapshot_file import SnapshotFileWriter, SnapshotHeader, verify
from qcore.storage.interface import LogStorage
from qcore.storage.sqlite.inspection import first_entries, stored_snapshot, stored_version
from qcore.storage.sqlite.snapshot_parts import PART_CHARS
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.storage.support.directories import NODE_ID, command, crashed, snapshot, stopped

#: Small enough for two checkpoints in `write`.
WAL_BYTES: Final = 60_000
#: A full disk has space again after this many attempts.
ATTEMPTS_ON_A_FULL_DISK: Final = 3
RED: Final = Membership(voters=(NODE_ID,), addresses=((NODE_ID, "a:1"),), cluster_id="red")
TEXT: Final = "the whole state of it " * 30_000


@dataclass
class OperationContext:
    """The input of an operation, and its way to report.

    Attributes:
        directory: the directory of the case, a copy of a template.
        arm: from now on calls fail as planned.
        disarm: from now on nothing fails.
        report: report what was acknowledged: `last` and `term` of the log, `snapshot`, `cluster`, `saved`.
    """

    directory: Path
    arm: Callable[[], None]
    disarm: Callable[[], None]
    report: Callable[[str, int | str], None]

    @property
    def data(self) -> Path:
        return self.directory / "below" / "data"

    def open(self, wal_bytes: int = WAL_BYTES) -> SqliteStorage:
        return SqliteStorage.open(self.data, NODE_ID, wal_bytes=wal_bytes)

    def write(self, storage: LogStorage, writes: list[Write]) -> None:
        """Write like the node's writer: wait for space, then continue."""
        for attempt in range(ATTEMPTS_ON_A_FULL_DISK + 1):
            if attempt == ATTEMPTS_ON_A_FULL_DISK:
                self.disarm()
            try:
                storage.write(writes)
                break
            except DiskFull:
                if attempt == ATTEMPTS_ON_A_FULL_DISK:
                    raise
        for write in writes:
            if isinstance(write, AppendLog):
                self.report("last", write.entries[-1].index)
            elif isinstance(write, SaveHardState):
                self.report("term", write.hard_state.term)
            elif isinstance(write, StoreSnapshot):
                self.report("snapshot", write.snapshot.meta.last_included_index)


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        run: executes it.
        template: the content of the directory at first: "nothing", "blank", "stopped" or "crashed".
        held: what was acknowledged before.
    """

    run: Callable[[OperationContext], None]
    template: str
    held: dict[str, int | str] = field(default_factory=dict)


def create(context: OperationContext) -> None:
    context.arm()
    storage = context.open()
    context.write(
        storage,
        [SaveHardState(1, HardState(2, 1, 0)), AppendLog(2, [command(1), command(2)])],
    )
    storage.close()


def restart(context: OperationContext) -> None:
    context.arm()
    storage = context.open()
    state = storage.load()
    context.write(storage, [AppendLog(1, [command(last_index(state) + 1)])])
    storage.close()


def load(context: OperationContext) -> None:
    storage = context.open()
    context.arm()
    assert storage.load().entries[-1].index == 90
    storage.close()


def write(context: OperationContext) -> None:
    storage = context.open()
    storage.load()
    context.arm()
    for index in range(91, 131, 8):
        context.write(
            storage, [AppendLog(1, [command(i, size=1500) for i in range(index, index + 8)])]
        )
    storage.idle()
    storage.close()


def join(context: OperationContext) -> None:
    inner = context.open()
    storage = JoiningStorage(inner)
    storage.load()
    context.arm()
    configuration = Entry(1, 2, "membership", RED.to_json(), 5)
    context.write(
        storage, [SaveHardState(1, HardState(2, NODE_ID, 0)), AppendLog(2, [configuration])]
    )
    assert storage.identity().cluster_id == "red"
    context.write(storage, [AppendLog(2, [command(2)])])
    storage.close()
    context.report("cluster", "red")


def store_snapshot(context: OperationContext) -> None:
    storage = context.open()
    storage.load()
    large = Snapshot(snapshot(85).meta, "x" * (2 * PART_CHARS + 1))
    context.arm()
    ahead = True
    while ahead:
        try:
            ahead = storage.write_snapshot_parts(large)
        except DiskFull:
            context.disarm()
    context.write(storage, [StoreSnapshot(1, large, 80, False)])
    while storage.remove_stale_parts():
        pass
    context.write(storage, [AppendLog(1, [command(91)])])
    storage.close()


def inspect(context: OperationContext) -> None:
    """Inspection before the start changes nothing for the start, whatever its outcome."""
    context.arm()
    for one in (
        lambda: stored_version(context.data),
        lambda: stored_snapshot(context.data),
        lambda: list(first_entries(context.data, ("command",), 5)),
    ):
        try:
            one()
        except StorageError as error:
            context.report("seen", f"{type(error).__name__}: {error}")
    context.disarm()
    storage = context.open()
    assert last_index(storage.load()) == 100
    storage.close()


def save(context: OperationContext) -> None:
    header = SnapshotHeader(
        "red", 9, 2, 0, RED, len(TEXT), hashlib.sha256(TEXT.encode()).hexdigest()
    )
    context.arm()
    with SnapshotFileWriter(context.directory / "below" / "copy", header) as file:
        file.write(TEXT)
        file.finish()
    context.report("saved", 1)


OPERATIONS: Final = {
    "create": Operation(create, "nothing"),
    "restart": Operation(restart, "stopped", {"last": 90}),
    "restart after a crash": Operation(restart, "crashed", {"last": 100}),
    "load": Operation(load, "stopped", {"last": 90}),
    "write": Operation(write, "stopped", {"last": 90}),
    "join": Operation(join, "blank"),
    "store a snapshot": Operation(store_snapshot, "stopped", {"last": 90}),
    "inspect": Operation(inspect, "crashed", {"last": 100}),
    "save": Operation(save, "nothing"),
}


def make_templates(root: Path) -> None:
    """Create the directories with which operations begin."""
    for name in ("nothing", "blank", "stopped", "crashed"):
        (root / name / "below").mkdir(parents=True)
    SqliteStorage.open(root / "blank/below/data", NODE_ID, wal_bytes=WAL_BYTES).close()
    stopped(root / "stopped/below/data")
    crashed(root / "crashed/below/data")
    shutil.rmtree(root / "crashed/below/data.live")


def check(context: OperationContext, held: dict[str, int | str]) -> None:
    """The next start without faults: it works, and finds everything that was acknowledged unchanged."""
    if "saved" in held or (context.directory / "below" / "copy").exists():
        verify(context.directory / "below" / "copy")
    storage = JoiningStorage(context.open())
    state = storage.load()
    last = last_index(state)
    assert last >= int(held.get("last", 0)), f"the log ends at {last}: {held} was acknowledged"
    assert state.hard_state.term >= int(held.get("term", 0)), "a term was lost"
    kept = state.snapshot.meta.last_included_index if state.snapshot else 0
    assert kept >= int(held.get("snapshot", 0)), "a snapshot was lost"
    assert "cluster" not in held or storage.identity().cluster_id == held["cluster"]
    for entry in state.entries:
        if entry.kind == "command" and entry.index > 90:
            size = len(entry.data)
            assert entry == command(entry.index, size=size), f"entry {entry.index} changed"
    if last == 0:
        storage.write([SaveHardState(1, HardState(2, 1, 0))])
    storage.write([AppendLog(1, [command(last + 1)])])
    storage.close()
