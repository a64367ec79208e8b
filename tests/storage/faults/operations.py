"""What is tried while system calls fail. Each operation says what it was told is durable, as it goes."""

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
from qcore.node.peers.joining_storage import JoiningStorage
from qcore.storage.files.snapshot_file import SnapshotFileWriter, SnapshotHeader, verify
from qcore.storage.interface import LogStorage
from qcore.storage.sqlite.inspection import first_entries, stored_snapshot, stored_version
from qcore.storage.sqlite.snapshot_parts import PART_CHARS
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.storage.support.directories import NODE_ID, command, crashed, snapshot, stopped

#: Two checkpoints in what `write` does.
WAL_BYTES: Final = 60_000
#: A full disk is waited out, and has space again after so many attempts.
PATIENCE: Final = 3
RED: Final = Membership(voters=(NODE_ID,), addresses=((NODE_ID, "a:1"),), cluster_id="red")
TEXT: Final = "all that there is " * 30_000


@dataclass
class OperationContext:
    """What an operation gets, and what it may say.

    Attributes:
        directory: of the case, made from a template.
        arm: from now on calls fail as planned.
        disarm: from now on nothing fails.
        say: what was acknowledged: `last` and `term` of the log, `snapshot`, `cluster`, `saved`.
    """

    directory: Path
    arm: Callable[[], None]
    disarm: Callable[[], None]
    say: Callable[[str, int | str], None]

    @property
    def data(self) -> Path:
        return self.directory / "below" / "data"

    def open(self, wal_bytes: int = WAL_BYTES) -> SqliteStorage:
        return SqliteStorage.open(self.data, NODE_ID, wal_bytes=wal_bytes)

    def write(self, storage: LogStorage, writes: list[Write]) -> None:
        """As the writer does: wait for space, and then go on."""
        for attempt in range(PATIENCE + 1):
            if attempt == PATIENCE:
                self.disarm()
            try:
                storage.write(writes)
                break
            except DiskFull:
                if attempt == PATIENCE:
                    raise
        for write in writes:
            if isinstance(write, AppendLog):
                self.say("last", write.entries[-1].index)
            elif isinstance(write, SaveHardState):
                self.say("term", write.hard_state.term)
            elif isinstance(write, StoreSnapshot):
                self.say("snapshot", write.snapshot.meta.last_included_index)


@dataclass(frozen=True)
class Operation:
    """One thing to try.

    Attributes:
        run: does it.
        template: what the directory holds before: "nothing", "blank", "stopped" or "crashed".
        held: what was acknowledged before.
    """

    run: Callable[[OperationContext], None]
    template: str
    held: dict[str, int | str] = field(default_factory=dict)


def create(world: OperationContext) -> None:
    world.arm()
    storage = world.open()
    world.write(
        storage,
        [SaveHardState(1, HardState(2, 1, 0)), AppendLog(2, [command(1), command(2)])],
    )
    storage.close()


def restart(world: OperationContext) -> None:
    world.arm()
    storage = world.open()
    state = storage.load()
    world.write(storage, [AppendLog(1, [command(last_index(state) + 1)])])
    storage.close()


def load(world: OperationContext) -> None:
    storage = world.open()
    world.arm()
    assert storage.load().entries[-1].index == 90
    storage.close()


def write(world: OperationContext) -> None:
    storage = world.open()
    storage.load()
    world.arm()
    for index in range(91, 131, 8):
        world.write(
            storage, [AppendLog(1, [command(i, size=1500) for i in range(index, index + 8)])]
        )
    storage.idle()
    storage.close()


def join(world: OperationContext) -> None:
    inner = world.open()
    storage = JoiningStorage(inner)
    storage.load()
    world.arm()
    configuration = Entry(1, 2, "membership", RED.to_json(), 5)
    world.write(
        storage, [SaveHardState(1, HardState(2, NODE_ID, 0)), AppendLog(2, [configuration])]
    )
    assert storage.identity().cluster_id == "red"
    world.write(storage, [AppendLog(2, [command(2)])])
    storage.close()
    world.say("cluster", "red")


def store_snapshot(world: OperationContext) -> None:
    storage = world.open()
    storage.load()
    large = Snapshot(snapshot(85).meta, "x" * (2 * PART_CHARS + 1))
    world.arm()
    ahead = True
    while ahead:
        try:
            ahead = storage.write_snapshot_parts(large)
        except DiskFull:
            world.disarm()
    world.write(storage, [StoreSnapshot(1, large, 80, False)])
    while storage.remove_stale_parts():
        pass
    world.write(storage, [AppendLog(1, [command(91)])])
    storage.close()


def look(world: OperationContext) -> None:
    """A look before the start, whatever comes of it, changes nothing for the start."""
    world.arm()
    for one in (
        lambda: stored_version(world.data),
        lambda: stored_snapshot(world.data),
        lambda: list(first_entries(world.data, ("command",), 5)),
    ):
        try:
            one()
        except StorageError as error:
            world.say("seen", f"{type(error).__name__}: {error}")
    world.disarm()
    storage = world.open()
    assert last_index(storage.load()) == 100
    storage.close()


def save(world: OperationContext) -> None:
    header = SnapshotHeader(
        "red", 9, 2, 0, RED, len(TEXT), hashlib.sha256(TEXT.encode()).hexdigest()
    )
    world.arm()
    with SnapshotFileWriter(world.directory / "below" / "copy", header) as file:
        file.write(TEXT)
        file.finish()
    world.say("saved", 1)


OPERATIONS: Final = {
    "create": Operation(create, "nothing"),
    "restart": Operation(restart, "stopped", {"last": 90}),
    "restart after a crash": Operation(restart, "crashed", {"last": 100}),
    "load": Operation(load, "stopped", {"last": 90}),
    "write": Operation(write, "stopped", {"last": 90}),
    "join": Operation(join, "blank"),
    "store a snapshot": Operation(store_snapshot, "stopped", {"last": 90}),
    "look": Operation(look, "crashed", {"last": 100}),
    "save": Operation(save, "nothing"),
}


def make_templates(root: Path) -> None:
    """The directories that operations begin with."""
    for name in ("nothing", "blank", "stopped", "crashed"):
        (root / name / "below").mkdir(parents=True)
    SqliteStorage.open(root / "blank/below/data", NODE_ID, wal_bytes=WAL_BYTES).close()
    stopped(root / "stopped/below/data")
    crashed(root / "crashed/below/data")
    shutil.rmtree(root / "crashed/below/data.live")


def check(world: OperationContext, held: dict[str, int | str]) -> None:
    """The next start, with nothing failing: it works, and has all that was acknowledged, as it was written."""
    if "saved" in held or (world.directory / "below" / "copy").exists():
        verify(world.directory / "below" / "copy")
    storage = JoiningStorage(world.open())
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
