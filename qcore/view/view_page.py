"""`save_page`: writes the page of a run, one HTML file that needs no other file and no server."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from heapq import nlargest, nsmallest
from pathlib import Path
from typing import Final

from qcore.analysis.course.course_types import Course, Election, OperationCourse
from qcore.analysis.course.read_course import read_course
from qcore.analysis.explanations.explain import explain
from qcore.analysis.records import TraceSource
from qcore.errors import ConfigError
from qcore.pages.page_assembly import page
from qcore.release import __version__
from qcore.view.chunk_codec import deflated, stored_as
from qcore.view.event_rows import EventRows
from qcore.view.history_lanes import judged_history
from qcore.view.keyframes import Extent, between, whole
from qcore.view.overview_levels import (
    bins,
    commits,
    disturbances,
    election_row,
    leadership,
    marks,
    operation_columns,
    operation_places,
    operation_totals,
    spans,
)
from qcore.view.run_summary import Verdict, checked, expectation_note, failure_notes

#: The version of the page's data.
FORMAT: Final = 1
#: A page with more events would not open in a browser.
MOST_EVENTS: Final = 3_000_000
#: How many events a chunk holds.
CHUNK_EVENTS: Final = 8192
#: More operations than this are stored with the events.
MOST_OVERVIEW_OPERATIONS: Final = 20_000
#: How many operations are explained: the slowest ones, and the first that failed.
_MOST_SLOW: Final = 100
_MOST_FAILED: Final = 500
#: How many operations that still run at the begin of a chunk it holds: the newest.
_MOST_WAITING: Final = 500
_JSON: Final = "application/json"
_STORED: Final = "text/plain"


def save_page(
    source: TraceSource | Course,
    path: Path | str,
    *more: TraceSource,
    from_ms: float | None = None,
    to_ms: float | None = None,
    align: bool = False,
    verdicts: Sequence[Verdict] = (),
) -> Path:
    """Write the page of a run. A browser opens the file, without a server and without a network.

    Args:
        source: the trace of the run, or its course.
        path: the file to write; an existing one is replaced.
        more: the traces of further nodes, if `source` is the trace of a real node.
        from_ms, to_ms: the page shows only this time of the run. Like all times on the page it counts from the begin of
            the cluster, which is the first record of a simulated run.
        align: correct the times of real nodes by the offsets of their clocks.
        verdicts: how the expectations of the scenario were judged, if that is known.

    Returns:
        the path.

    Raises:
        ConfigError: a trace cannot be read, the run has too many events, no event is in this time, or the file cannot
            be written.
    """
    course = course_of(source, more, align=align)
    text = page_text(course, from_ms=from_ms, to_ms=to_ms, verdicts=verdicts)
    target = Path(path)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write the page {target}: {error.strerror}") from None
    return target


def page_text(
    course: Course,
    *,
    from_ms: float | None = None,
    to_ms: float | None = None,
    verdicts: Sequence[Verdict] = (),
) -> str:
    """The page of a run.

    Args:
        course: the course of the run.
        from_ms, to_ms: the page shows only this time of the run.
        verdicts: how the expectations of the scenario were judged, if that is known.

    Raises:
        ConfigError: the run has too many events, or no event is in this time.
    """
    data = page_data(course, from_ms=from_ms, to_ms=to_ms, verdicts=verdicts)
    return page("viewer", _title(course), data)


def page_data(
    course: Course,
    *,
    from_ms: float | None = None,
    to_ms: float | None = None,
    verdicts: Sequence[Verdict] = (),
) -> Iterator[tuple[str, str, str]]:
    """The data in the page of a run: id, media type and text of each element. See `page_text`."""
    return _Content(course, _extent(course, from_ms, to_ms), verdicts).data()


def course_of(source: TraceSource | Course, more: Sequence[TraceSource], *, align: bool) -> Course:
    """The course that a caller gave, or that of the traces that it gave.

    Raises:
        ConfigError: a trace cannot be read.
    """
    if isinstance(source, Course):
        return source
    return read_course(source, *more, align=align)


def _title(course: Course) -> str:
    name = course.tables.name or "a run"
    return f"{name}, seed {course.tables.seed}" if course.is_simulated else name


def _extent(course: Course, from_ms: float | None, to_ms: float | None) -> Extent:
    if not course.records:
        raise ConfigError("the trace holds no record, so there is nothing to show")
    if from_ms is None and to_ms is None:
        extent = whole(course)
    else:
        begin_us = course.begin_us
        start_us = begin_us + (0 if from_ms is None else round(from_ms * 1000))
        end_us = course.end_us if to_ms is None else begin_us + round(to_ms * 1000)
        extent = between(course, start_us, end_us)
        if not extent.events:
            raise ConfigError(
                f"no event from {(start_us - begin_us) / 1000:g} to {(end_us - begin_us) / 1000:g} ms: the run lasts "
                f"from 0 to {(course.end_us - begin_us) / 1000:g} ms"
            )
    if extent.events > MOST_EVENTS:
        raise ConfigError(
            f"the page would have {extent.events} events, and a browser shows at most {MOST_EVENTS}: choose a part "
            f"of the run, which lasts {(course.end_us - course.begin_us) / 1000:g} ms, with --from-ms and --to-ms"
        )
    return extent


class _Content:
    """What the page of a run holds.

    Args:
        course: the course of the run.
        extent: the part of it that the page shows.
        verdicts: how the expectations of the scenario were judged.
    """

    def __init__(self, course: Course, extent: Extent, verdicts: Sequence[Verdict]) -> None:
        self._course = course
        self._verdicts = verdicts
        self._extent = extent
        self._stored = stored_as()
        self._is_part = extent.events < len(course.records)
        self._history = judged_history(course)
        self._places = operation_places(course, extent)
        operations = course.operations
        self._shown = [
            number
            for number, row in enumerate(operations)
            if row.invoke_us <= extent.end_us
            and (row.end_us is None or row.end_us >= extent.start_us or not self._is_part)
        ]
        self._invoked_us = [operations[number].invoke_us for number in self._shown]
        self._are_in_chunks = len(self._shown) > MOST_OVERVIEW_OPERATIONS
        self._firsts: list[int] = []  # the place of the first operation of each chunk
        self._waiting: list[int] = []  # the places of those that have not ended
        self._failed = nsmallest(
            _MOST_FAILED,
            (
                place
                for place, number in enumerate(self._shown)
                if operations[number].outcome != "ok"
            ),
            key=lambda place: (operations[self._shown[place]].op == "read", place),
        )
        self._rows = EventRows(
            course,
            extent,
            self._stored,
            self._operations_between if self._are_in_chunks else None,
        )

    def data(self) -> Iterator[tuple[str, str, str]]:
        """The elements with data: id, type and text."""
        chunks: list[list[object]] = []
        stored: list[str] = []
        for chunk in self._rows.chunks(CHUNK_EVENTS):
            chunks.append([chunk.first, chunk.count, chunk.start_us, chunk.end_us, chunk.kinds])
            stored.append(deflated(chunk.content))
        overview = deflated(self._overview())
        head = self._head(chunks)
        yield "head", _JSON, json.dumps(head, separators=(",", ":"), ensure_ascii=False)
        yield "overview", _STORED, overview
        for number, text in enumerate(stored):
            yield f"chunk-{number}", _STORED, text

    def _head(self, chunks: list[list[object]]) -> dict[str, object]:
        course, extent = self._course, self._extent
        return {
            "format": FORMAT,
            "name": course.tables.name,
            "seed": course.tables.seed,
            "source": "simulated" if course.is_simulated else "real",
            "details": course.has_details,
            "inferred": any(track.is_inferred for track in course.tracks.values()),
            "part": self._is_part,
            "nodes": course.nodes,
            "clients": course.clients,
            "voters": course.tables.voters,
            "zero_us": course.begin_us,
            "begin_us": extent.start_us,
            "end_us": extent.end_us,
            "origin_us": str(course.origin_us),
            "events": extent.events,
            "kinds": list(self._stored),
            "fields": self._stored,
            "names": self._rows.names.texts,
            "roles": self._rows.roles.texts,
            "chunks": chunks,
            "scenario": "" if course.origin is None else course.origin.scenario,
            "version": f"qcore {__version__}",
        }

    def _overview(self) -> dict[str, object]:
        course, extent = self._course, self._extent
        shown = [course.operations[number] for number in self._shown]
        if self._are_in_chunks:
            operations: dict[str, object] = {
                "chunked": True,
                "count": len(shown),
                "firsts": self._firsts,
                "keys": sorted({row.key for row in shown if row.key}),
                "failed": self._columns(self._failed),
            }
        else:
            operations = operation_columns(course, self._places, self._history.judged, self._shown)
        return {
            "spans": spans(course, self._rows.roles),
            **leadership(course),
            **disturbances(course, extent),
            "elections": [
                election_row(election, *explained(course, election))
                for election in course.elections
                if election.start_us <= extent.end_us and election.end_us >= extent.start_us
            ],
            "bins": bins(course, extent, self._rows.message_of),
            "commits": commits(course, extent),
            "operations": operations,
            "totals": operation_totals(shown),
            "sentences": self._sentences(),
            "failure_notes": failure_notes(course),
            "checked": checked(course),
            "expectations": {
                "note": expectation_note(course, self._verdicts),
                "rows": [list(verdict) for verdict in self._verdicts],
            },
            "history": self._history_content(),
            "level": self._history.level,
            "marks": marks(course, extent, self._places),
        }

    def _history_content(self) -> object:
        if self._history.keys and len(self._shown) < len(self._course.operations):
            return {
                "absent": "the page shows a part of the run, and the checker needs every operation"
            }
        return self._history.content

    def _operations_between(self, start_us: int, next_us: int) -> dict[str, object]:
        """The operations that began in the time of a chunk, and those that still ran at its begin. The chunks are asked
        for in order. The first one also has the operations that began before."""
        operations, first = self._course.operations, bisect_left(self._invoked_us, start_us)
        if not self._firsts:
            first = 0
        self._firsts.append(first)
        waiting = [
            place
            for place in self._waiting
            if (end_us := operations[self._shown[place]].end_us) is None or end_us >= start_us
        ]
        begun = range(first, bisect_left(self._invoked_us, next_us))
        self._waiting = [*waiting, *begun]
        return {
            "operations": self._columns(begun),
            "waiting": self._columns(waiting[-_MOST_WAITING:]),
        }

    def _columns(self, places: Sequence[int]) -> dict[str, object]:
        """The columns of some of the shown operations, with their places, which are their numbers on the page."""
        numbers = [self._shown[place] for place in places]
        columns = operation_columns(self._course, self._places, self._history.judged, numbers)
        return {"number": list(places), **columns}

    def _sentences(self) -> dict[str, list[str]]:
        """Number of an operation on the page -> its explanation, for those that failed and the slowest ones."""
        operations = self._course.operations
        slow = nlargest(
            _MOST_SLOW,
            range(len(self._shown)),
            key=lambda place: operations[self._shown[place]].latency_us or -1,
        )
        return {
            str(place): sentences
            for place in (*self._failed, *slow)
            if (sentences := explained(self._course, operations[self._shown[place]])[1])
        }


def explained(course: Course, subject: Election | OperationCourse) -> tuple[str, list[str]]:
    """The title and the sentences of an explanation."""
    explanation = explain(course, subject)
    return explanation.title, list(explanation.sentences)
