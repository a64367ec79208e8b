"""Measures the latencies of links and disks in a trace, for a simulation with the same ones."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from qcore.analysis.course.course_records import events_of
from qcore.analysis.course.course_types import Course, LogChange
from qcore.analysis.plotting.time_window import Window, WindowChoice, window_of
from qcore.analysis.style import MS

#: A scenario draws from at most this many samples; of more, evenly spaced quantiles are kept.
_MOST_SAMPLES: Final = 1_000
#: Two messages in opposite directions form a pair if the second is sent within this time after the first arrived.
_PAIR_WITHIN_US: Final = 1_000_000


@dataclass(slots=True, frozen=True)
class MeasuredLatencies:
    """The latencies of one run, in milliseconds.

    Attributes:
        link_ms: pair of nodes -> latencies in one direction, sorted.
        disk_ms: how long syncs of entries took, sorted; empty if the trace has no details.
    """

    link_ms: Mapping[tuple[int, int], tuple[float, ...]]
    disk_ms: tuple[float, ...]

    @property
    def all_links_ms(self) -> tuple[float, ...]:
        """The latencies of all links, sorted."""
        return tuple(sorted(value for values in self.link_ms.values() for value in values))

    def as_settings(self) -> dict[str, object]:
        """The settings of a scenario with these latencies, for `Scenario.with_`. What was not measured is left out."""
        settings: dict[str, object] = {}
        for name, values in (
            ("network.latency_ms", self.all_links_ms),
            ("cluster.disk.latency_ms", self.disk_ms),
        ):
            if values:
                settings[name] = {"samples": _thinned(values)}
        return settings


def measure_latencies(course: Course, *, window: WindowChoice = None) -> MeasuredLatencies:
    """Measure the latencies of links and disks.

    The clocks of real nodes differ, so a link's latency is half of the time that a message and the next one in the
    other direction took together: their difference cancels out. That hides how much the two directions differ, and
    makes the spread smaller than that of single messages. Simulated nodes share one clock, so each message counts.

    The time of a sync is that from the append of its first entry, or from the end of the sync before, until the entry
    is durable. It holds what the node did until it noticed that.

    Args:
        course: the course of a run. Disks need a trace with details.
        window: the stretch to measure, as in `window_of`. Leave out the start of the cluster: it is no normal load.

    Raises:
        ConfigError: the course has no such stretch.
    """
    part = window_of(course, window)
    trips: dict[tuple[int, int], list[tuple[int, int]]] = {}
    messages = course.messages
    for number, outcome in enumerate(messages.outcome):
        if (
            outcome == 0
            and messages.send_event[number] >= 0
            and part.holds(messages.sent_us[number])
        ):
            link = messages.source[number], messages.target[number]
            trips.setdefault(link, []).append((messages.sent_us[number], messages.end_us[number]))
    links: dict[tuple[int, int], tuple[float, ...]] = {}
    for (a, b), there in trips.items():
        if course.is_simulated:
            pair = (min(a, b), max(a, b))
            took = [(end - sent) / MS for sent, end in there]
            links[pair] = tuple(sorted([*links.get(pair, ()), *took]))
        elif a < b and (b, a) in trips:
            links[a, b] = tuple(sorted(_half_trips(there, trips[b, a])))
    return MeasuredLatencies(links, tuple(sorted(_disk_ms(course, part))))


def _half_trips(there: Sequence[tuple[int, int]], back: Sequence[tuple[int, int]]) -> list[float]:
    """Half of the time that a message and the next one back took, without the time between them."""
    sent_back = [sent for sent, _ in back]
    halves: list[float] = []
    for sent, received in there:
        number = bisect_left(sent_back, received)  # both are times of the receiver's clock
        if number < len(back) and back[number][0] - received <= _PAIR_WITHIN_US:
            both = (received - sent) + (back[number][1] - back[number][0])
            if both >= 0:
                halves.append(both / 2 / MS)
    return halves


def _disk_ms(course: Course, part: Window) -> list[float]:
    """How long each sync took, without the waiting for the one before."""
    found: list[float] = []
    starts: dict[int, list[int]] = {}
    for _, record in events_of(course.records, {"up"}):
        starts.setdefault(record.node, []).append(record.t_us - course.origin_us)
    for track in course.tracks.values():
        events: list[tuple[int, LogChange | int | None]] = [
            (change.t_us, change) for change in track.log if change.phase != "snapshot"
        ]
        events += zip(track.durable.times, track.durable.values, strict=True)
        events += [(t_us, None) for t_us in starts.get(track.node, ())]
        waiting: list[tuple[int, int]] = []  # the time and the last entry of each append
        free_us = 0  # since when the disk is not busy with what it stored before
        for t_us, what in sorted(events, key=_order):
            if what is None:
                waiting = []  # what the process before had not stored is lost
            elif isinstance(what, LogChange):
                if what.phase == "append":
                    waiting.append((t_us, what.last))
                else:
                    waiting = [each for each in waiting if each[1] < what.first]
            else:
                done = [began_us for began_us, last in waiting if last <= what]
                waiting = [each for each in waiting if each[1] > what]
                if done and part.holds(t_us) and (took_us := t_us - max(free_us, done[0])) > 0:
                    found.append(took_us / MS)
                free_us = t_us
    return found


def _order(event: tuple[int, LogChange | int | None]) -> tuple[int, int]:
    """By time. What a node has stored when it starts is no sync; of the rest, an append comes before its sync."""
    t_us, what = event
    return t_us, 0 if what is None else 1 if isinstance(what, LogChange) else 2


def _thinned(values: Sequence[float]) -> list[float]:
    if len(values) <= _MOST_SAMPLES:
        return list(values)
    step = (len(values) - 1) / (_MOST_SAMPLES - 1)
    return [values[round(number * step)] for number in range(_MOST_SAMPLES)]
