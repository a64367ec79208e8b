"""A substitute for the program `qcore`: a node whose disk can be stalled, and whose guards can be removed.

While the file `<data directory>.stall` exists, no write to the node's log ends. The waiting writes are in no file, so
`kill -9` loses them as a power loss would. If the file `<data directory>.writers` exists, each write adds a line to it
that names its thread: `loop` or `disk`. Every disk counts as fast, so that a busy computer changes nothing.

`QCORE_TEST_WITHOUT` names the removed guards, separated by commas:

| guard | without it |
|---|---|
| `append_durable_before_ack` | see `qcore.core.config.Safeguards` |
| `disk_stalled` | a leader does not watch its disk |
| `disk_thread` | the event loop writes to the disk |
| `recorded_replies` | a session forgets its replies |
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from qcore.cli.main import main
from qcore.core.config import Safeguards
from qcore.core.effects import Write
from qcore.core.raft_server import RaftServer
from qcore.node.config import NodeConfig
from qcore.replica.config import ReplicaConfig
from qcore.replica.sessions import session_table
from qcore.replica.sessions.client_session import Session
from qcore.storage.group_commit import GroupCommitWriter
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from qcore.storage.sync_pace import SyncPace


def put(owner: object, name: str, function: Callable[..., object]) -> None:
    """Replace a function of a class or module."""
    setattr(owner, name, function)


def stall_on(flag: Path) -> None:
    """Let no write end while the file exists."""
    write_now = SqliteStorage.write

    def write(storage: SqliteStorage, writes: Sequence[Write], commit: int | None = None) -> None:
        while flag.exists():
            time.sleep(0.005)
        write_now(storage, writes, commit)

    put(SqliteStorage, "write", write)


def record_writers(path: Path) -> None:
    """Let each write name its thread in the file, if the file exists."""
    write_now = SqliteStorage.write

    def write(storage: SqliteStorage, writes: Sequence[Write], commit: int | None = None) -> None:
        if path.exists():
            with path.open("a") as file:
                is_loop = threading.current_thread() is threading.main_thread()
                file.write("loop\n" if is_loop else "disk\n")
        write_now(storage, writes, commit)

    put(SqliteStorage, "write", write)
    put(SyncPace, "is_fast", lambda _pace, _now: True)


def without_append_durable_before_ack() -> None:
    replica_config = NodeConfig.replica_config

    def unguarded(config: NodeConfig) -> ReplicaConfig:
        whole = replica_config(config)
        safeguards = Safeguards(append_durable_before_ack=False)
        return replace(whole, raft=replace(whole.raft, safeguards=safeguards))

    put(NodeConfig, "replica_config", unguarded)


def without_disk_stalled() -> None:
    put(RaftServer, "disk_stalled", lambda _server: False)


def without_disk_thread() -> None:
    def submit(
        writer: GroupCommitWriter, writes: Sequence[Write], commit: int | None = None
    ) -> None:
        if writes:
            writer._storage.write(writes, commit)
            writer._notify(partial(writer._on_durable, writes[-1].write_id))

    put(GroupCommitWriter, "submit", submit)
    put(GroupCommitWriter, "try_write", lambda *_: False)
    put(SqliteStorage, "idle", lambda _storage: None)  # its thread has no work


def without_recorded_replies() -> None:
    run_once = session_table._run

    def forgetful(session: Session, *rest: Any) -> session_table.ApplyOutcome:
        outcome = run_once(session, *rest)
        session.replies.clear()
        return outcome

    put(session_table, "_run", forgetful)


GUARDS = {
    "append_durable_before_ack": without_append_durable_before_ack,
    "disk_stalled": without_disk_stalled,
    "disk_thread": without_disk_thread,
    "recorded_replies": without_recorded_replies,
}


if __name__ == "__main__":
    data_dir = sys.argv[sys.argv.index("--data-dir") + 1]
    record_writers(Path(data_dir + ".writers"))
    stall_on(Path(data_dir + ".stall"))
    for guard in os.environ["QCORE_TEST_WITHOUT"].split(","):
        if guard:
            GUARDS[guard]()
    main()
