"""SQLite behind the writer of a node, as the table needs it; run as a process with the layer, it runs all rows.

Arguments: an empty directory. It prints the outcome of each row, in a JSON line.
"""

from __future__ import annotations

import ctypes
import shutil
import sys
from errno import EIO, ENOSPC
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from qcore.core.effects import Write
from qcore.core.entry import DurableState
from qcore.errors import DiskFull
from qcore.storage.group_commit import GroupCommitWriter
from tests.storage.both_disks.rows import DURABLE, ROWS, SPACE, Event, Row, run_row
from tests.storage.faults.sweep import Report, in_child, write_line
from tests.storage.support.directories import FILES, open_storage

#: How long a wrong event may take to come.
_QUIET_S = 0.05
_RETRY_S = 0.01


class RealDisk:
    """One data directory with its writer.

    Args:
        root: an empty directory.
    """

    def __init__(self, root: Path) -> None:
        self._layer = ctypes.CDLL(None)
        self._live = self._next = root / "live"
        self._copies = 0
        self._root = root
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._storage = open_storage(self._live)
        self._writer = GroupCommitWriter(
            self._storage,
            lambda call: call(),
            on_durable=lambda _write_id: self._events.put(DURABLE),
            on_error=lambda error: self._events.put(type(error).__name__),
            on_disk_full=self._on_full,
            retry_s=_RETRY_S,
        )
        self._writer.start()

    def _on_full(self, why: DiskFull | None) -> None:
        self._events.put(SPACE if why is None else type(why).__name__)

    def submit(self, writes: list[Write]) -> None:
        self._writer.submit(writes)

    def next_event(self) -> Event:
        return self._events.get(timeout=10)

    def is_quiet(self) -> bool:
        try:
            self._events.get(timeout=_QUIET_S)
        except Empty:
            return True
        return False

    def inject(self, fault: str) -> None:
        if fault == "nothing":
            return
        if fault == "read":
            self._copy()
        call, kind = ("write", ENOSPC) if fault == "full" else (fault, EIO)
        times = 0 if fault in ("full", "read") else 1
        self._plan(self._root, call, kind, times)

    def mend(self) -> None:
        self._layer.fault_plan(b"", b"", 0, 0, 0)

    def _plan(self, where: Path, call: str, kind: int, times: int) -> None:
        self._layer.fault_plan(str(where).encode(), call.encode(), kind, 1, times)

    def lose_power(self, writes: list[Write], reached: str) -> None:
        """The mark still has its old content, because a node writes it after the sync."""
        before = {name: (self._live / name).read_bytes() for name in FILES}
        self.submit(writes)
        assert self.next_event() == DURABLE
        after = (self._live / "log.db-wal").read_bytes()
        self._copy()
        for name, content in before.items():
            (self._next / name).write_bytes(content)
        wal = before["log.db-wal"]
        changed = [at for at in range(len(after)) if wal[at : at + 1] != after[at : at + 1]]
        assert changed
        middle = (changed[0] + changed[-1]) // 2
        end = {"none": 0, "half": middle, "all": len(after)}[reached]
        (self._next / "log.db-wal").write_bytes(after[:end] + wal[end:])

    def damage(self, place: str) -> None:
        self._writer.close()
        self._storage.close()
        where, _, number = place.partition(" ")
        text = f"command {number} " if where == "entry" else "machine at 2 "
        path = self._live / "log.db"
        content = path.read_bytes()
        flipped = bytes([text.encode()[0] ^ 1]) + text.encode()[1:]
        assert text.encode() in content
        # A page may hold older copies in its unused space. They are flipped, too, which does no harm.
        path.write_bytes(content.replace(text.encode(), flipped))

    def start(self) -> DurableState:
        if self._next == self._live and (self._live / "log.db-wal").exists():
            self._copy()
        storage = open_storage(self._next)
        try:
            return storage.load()
        finally:
            storage.close()

    def _copy(self) -> None:
        """The files as a process that dies now leaves them."""
        self._copies += 1
        self._next = self._root / f"copy{self._copies}"
        shutil.copytree(self._live, self._next)


def main() -> None:
    root = Path(sys.argv[1])
    for number, row in enumerate(ROWS):
        place = root / str(number)
        place.mkdir()
        reports, _ = in_child(partial(_run, row, place))
        write_line(sys.stdout.fileno(), [str(row), *reports])


def _run(row: Row, place: Path, report: Report) -> None:
    report(run_row(row, RealDisk(place)).as_object())


if __name__ == "__main__":
    main()
