"""The processor time of other processes, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(processes: Iterable[int]) -> tuple[float, ...]:
    """What each process has used until now, in seconds.

    The scheduler counts each thread in nanoseconds. Where it does not say so, there are the ticks of the process, which
    are hundredths of a second.
    """
    return tuple(_of(process) for process in processes)


def _of(process: int) -> float:
    threads = Path(f"/proc/{process}/task")
    try:
        texts = [(thread / "schedstat").read_text() for thread in threads.iterdir()]
        return sum(int(text.split()[0]) for text in texts) / 1e9
    except (OSError, ValueError, IndexError):
        # The name of a program may hold spaces and parentheses, so the fields count from the last one.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
