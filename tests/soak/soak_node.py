"""A program that runs in place of `qcore`: a node whose disk can be slow.

While the file `<data directory>.slow` exists, each write to the node's log waits 0.15 s before it begins.
With `QCORE_SOAK_UNSAFE` in its environment, the node acknowledges writes before they are durable: a planted fault,
which a soak has to find.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from qcore.cli.main import main
from qcore.core.effects import Write
from qcore.storage.sqlite.sqlite_storage import SqliteStorage

DELAY_S: Final = 0.15


def slow_down(flag: Path) -> None:
    """Delay each write while the file exists."""
    write_now = SqliteStorage.write

    def write(storage: SqliteStorage, writes: Sequence[Write], commit: int | None = None) -> None:
        if flag.exists():
            time.sleep(DELAY_S)
        write_now(storage, writes, commit)

    put = setattr
    put(SqliteStorage, "write", write)


if __name__ == "__main__":
    data_dir = Path(sys.argv[sys.argv.index("--data-dir") + 1])
    slow_down(data_dir.with_name(data_dir.name + ".slow"))
    if os.environ.get("QCORE_SOAK_UNSAFE"):
        from tests.pitfalls.support.faulty_node import without_append_durable_before_ack

        without_append_durable_before_ack()
    main()
