"""What the watchers of a simulated run did: when each had a watch, at which node, and why it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from qcore.errors import WatchCompacted
from qcore.trace import TraceRecord

#: The `end` of a watch that the watcher ended by itself.
MOVED: Final = "moves"
#: The `end` of a watch that still exists at the end of the trace.
OPEN: Final = "open"
#: The `end` of a watch whose next changes a node no longer had.
COMPACTED: Final = WatchCompacted.__name__


@dataclass(slots=True, frozen=True)
class WatchSpan:
    """One request of a watcher, and the watch that it began.

    Attributes:
        watcher, topic: who watched, and what.
        node: the node that it asked.
        asked_us: when it asked.
        start_us: when it learned that the watch began; None if it did not.
        end_us: when it had no watch any more.
        resumed: whether it gave a position to resume after.
        notices: how many changes it saw.
        end: why the watch ended, as in the trace: `moves`, an error's name or what happened to the connection; `open`
            at the end of the trace.
    """

    watcher: int
    topic: str
    node: int
    asked_us: int
    start_us: int | None
    end_us: int
    resumed: bool
    notices: int
    end: str


def watch_spans(records: Sequence[TraceRecord], origin: int, end: int) -> list[WatchSpan]:
    """The watches of a trace, in the order in which they were asked for.

    Args:
        records: the records, in the order of time.
        origin: the time of the first record.
        end: the time of the last record, since the first.
    """
    done: list[WatchSpan] = []
    current: dict[int, int] = {}  # watcher -> place in `done`
    for record in records:
        if record.kind != "watch":
            continue
        t_us, cells = record.t_us - origin, record.fields
        watcher, phase = cells["client"], cells["phase"]
        if phase == "invoke":
            current[watcher] = len(done)
            resumed = (cells["index"], cells["sequence"]) != (0, 0)
            span = WatchSpan(
                watcher, cells["topic"], record.node, t_us, None, end, resumed, 0, OPEN
            )
            done.append(span)
            continue
        place = current.get(watcher)
        if place is None:
            continue  # the record before is missing
        span = done[place]
        if phase == "ok":
            done[place] = replace(span, start_us=t_us)
        elif phase == "notice":
            done[place] = replace(span, notices=span.notices + 1)
        else:
            done[place] = replace(span, end_us=t_us, end=cells["note"])
            del current[watcher]
    return done
