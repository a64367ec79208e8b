"""A program that runs in place of `qcore`: a node that kills itself at a chosen point.

The file `<data directory>.crash` holds the name of the point. At the next moment at which the node reaches it, it sends
SIGKILL to itself. Without the file it works as usual.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from qcore.cli.main import main
from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, Write
from qcore.node.peers.peer_router import PeerRouter
from qcore.replica.apply.applier import Applier
from qcore.storage.sqlite.log_tables import LogTables
from qcore.storage.sqlite.sqlite_storage import SqliteStorage

#: Writes to the disk: name -> the kind of write that a transaction must contain.
KINDS: Final = {"save": SaveHardState, "append": AppendLog, "snapshot": StoreSnapshot}
#: Each point, as `<step>.<moment>`. At `written`, the statements of a transaction are done, and it is not committed.
POINTS: Final = (
    *(f"{kind}.{moment}" for kind in KINDS for moment in ("before", "written", "synced")),
    *(f"{step}.{moment}" for step in ("send", "apply") for moment in ("before", "after")),
)


class CrashPoints:
    """Kills the process when it reaches the point that a file names."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def reached(self, point: str) -> None:
        """Kill the process if the file names this point."""
        if self._path.exists() and self._path.read_text() == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: type, name: str, step: str) -> None:
        """Let a method reach `<step>.before` and `<step>.after`."""
        original = getattr(owner, name)

        def method(*arguments: Any) -> Any:
            self.reached(f"{step}.before")
            result = original(*arguments)
            self.reached(f"{step}.after")
            return result

        setattr(owner, name, method)

    def around_writes(self) -> None:
        """Let the transactions of the storage reach `before`, `written` and `synced` of the kinds in them."""
        write, write_rows = SqliteStorage.write, LogTables.write

        def all_reached(writes: Sequence[Write], moment: str) -> None:
            for name, kind in KINDS.items():
                if any(isinstance(one, kind) for one in writes):
                    self.reached(f"{name}.{moment}")

        def crashing_write(
            storage: SqliteStorage, writes: Sequence[Write], commit: int | None = None
        ) -> None:
            all_reached(writes, "before")
            write(storage, writes, commit)
            all_reached(writes, "synced")

        def crashing_rows(tables: LogTables, writes: Sequence[Write], *rest: Any) -> int:
            size = write_rows(tables, writes, *rest)
            all_reached(writes, "written")
            return size

        put = setattr
        put(SqliteStorage, "write", crashing_write)
        put(LogTables, "write", crashing_rows)


if __name__ == "__main__":
    data_dir = Path(sys.argv[sys.argv.index("--data-dir") + 1])
    points = CrashPoints(data_dir.with_name(data_dir.name + ".crash"))
    points.around_writes()
    points.around(PeerRouter, "send", "send")
    points.around(Applier, "_apply", "apply")
    main()
