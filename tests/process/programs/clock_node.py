"""A program that runs in place of `qcore`: a node whose wall clock is wrong.

The file `<data directory>.ahead` holds the number of seconds by which the clock is ahead. Without the file the clock is
right.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from qcore.cli.main import main
from qcore.runtime.clock import wall_us
from qcore.runtime.real import AsyncioRuntime


def wrong_clock(path: Path) -> None:
    """Replace the wall clock of the process with one that is ahead by the number in the file."""
    looked_at, ahead_us = 0.0, 0

    def wrong() -> int:
        nonlocal looked_at, ahead_us
        if time.monotonic() > looked_at + 0.05:
            looked_at = time.monotonic()
            ahead_us = int(path.read_text()) * 1_000_000 if path.exists() else 0
        return wall_us() + ahead_us

    AsyncioRuntime.wall_us = staticmethod(wrong)


if __name__ == "__main__":
    data_dir = Path(sys.argv[sys.argv.index("--data-dir") + 1])
    wrong_clock(data_dir.with_name(data_dir.name + ".ahead"))
    main()
