"""The data of a run's page: every record, the state before each chunk, and the overview."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from qcore.analysis.course.course_types import Course
from qcore.analysis.course.node_tracks import node_at
from qcore.analysis.course.read_course import read_course
from qcore.analysis.explanations.explain import explain
from qcore.errors import ConfigError
from qcore.trace import TraceRecord
from qcore.view import view_page
from qcore.view.chunk_codec import IdColumn, deflated, stored_as
from qcore.view.event_rows import EventRows
from qcore.view.keyframes import whole
from tests.view.decoded_page import DecodedPage, inflated, state_after

CHUNK = 256


@pytest.fixture(scope="module")
def page(course: Course) -> DecodedPage:
    """The page of the run, with small chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(view_page, "CHUNK_EVENTS", CHUNK)
        return decoded(course)


def decoded(
    course: Course, from_ms: float | None = None, to_ms: float | None = None
) -> DecodedPage:
    return DecodedPage.of(view_page.page_data(course, from_ms=from_ms, to_ms=to_ms))


def test_the_page_holds_every_record(course: Course, page: DecodedPage) -> None:
    assert len(page.chunks) > 10
    assert page.records(course.origin_us) == list(course.records)
    assert page.head["events"] == len(course.records)
    kinds = [sum(counts) for counts in zip(*(row[4] for row in page.head["chunks"]), strict=True)]
    found = dict(zip(page.head["kinds"], kinds, strict=True))
    assert found["vote"] == sum(record.kind == "vote" for record in course.records) > 0


def test_chunks_begin_when_the_time_changes(page: DecodedPage) -> None:
    rows = page.head["chunks"]
    for (first, count, _, end_us, _), (following, _, start_us, _, _) in pairwise(rows):
        assert first + count == following
        assert end_us < start_us
        assert count <= CHUNK


def test_events_of_one_time_stay_in_one_chunk(course: Course) -> None:
    """A keyframe is the state at a time, so no chunk may begin between events of one time."""
    stopped = [TraceRecord(5, record.kind, record.node, record.fields) for record in course.records]
    late = TraceRecord(6, "down", 1, {"why": "crash"})
    same = read_course([*stopped, late])
    rows = EventRows(same, whole(same), stored_as())
    assert [chunk.count for chunk in rows.chunks(100)] == [len(stopped), 1]


def test_keyframes_are_the_states_of_the_course(course: Course, page: DecodedPage) -> None:
    for chunk in page.chunks:
        t_us = chunk["keyframe"]["t"] - 1
        for node in course.nodes:
            moment, found = node_at(course, node, t_us), chunk["keyframe"]["nodes"][str(node)]
            for name in ("role", "term", "leader", "commit", "applied", "last", "durable"):
                assert found[name] == getattr(moment, name)
            assert found["voted"] == moment.voted_for
            assert found["log"] == [list(run) for run in moment.log.runs[-64:]]


def test_the_events_of_a_chunk_lead_to_the_next_keyframe(page: DecodedPage) -> None:
    for number, following in enumerate(page.chunks[1:]):
        assert state_after(page, number) == following["keyframe"]["nodes"], number


def test_messages_in_flight_are_in_the_keyframe(course: Course, page: DecodedPage) -> None:
    messages = course.messages
    for chunk in page.chunks:
        t_us = chunk["keyframe"]["t"]
        flying = [
            number
            for number in range(len(messages))
            if messages.sent_us[number] < t_us <= messages.end_us[number]
        ]
        assert [row[1:8] for row in chunk["keyframe"]["flights"]] == [
            [
                messages.sent_us[number],
                messages.source[number],
                messages.target[number],
                messages.name[number],
                messages.term[number],
                messages.note[number],
                messages.end_us[number],
            ]
            for number in flying
        ]


def test_both_records_of_a_message_name_each_other(course: Course, page: DecodedPage) -> None:
    events = [event for number in range(len(page.chunks)) for event in page.events(number)]
    ends = 0
    for event in events:
        if event["kind"] == "send" and event["outcome"] != 2:
            end = events[event["event"] + event["mate"]]
            assert (end["id"], end["from"], end["node"]) == (
                event["id"],
                event["node"],
                event["to"],
            )
            assert end["t"] == event["t"] + event["end"]
            assert end["kind"] == ("recv", "drop")[event["outcome"]]
            assert end["mate"] == -event["mate"]
            ends += 1
    assert ends > 500
    extra = [row for chunk in page.chunks for row in chunk["extra"]]
    assert {row[6] for row in extra} == {"duplicate"}
    assert len(extra) + sum(event["kind"] == "send" for event in events) == len(course.messages)


def test_counts_over_time_add_up(course: Course, page: DecodedPage) -> None:
    bins, kinds = page.overview["bins"], [record.kind for record in course.records]
    assert sum(map(sum, bins["sent"].values())) == kinds.count("send")
    assert sum(map(sum, bins["lost"].values())) == kinds.count("drop")
    for outcome in ("ok", "refused", "unknown"):
        expected = sum(row.outcome == outcome for row in course.operations)
        assert sum(bins[outcome]) == expected
    assert max(bins["latency_max_us"]) == max(row.latency_us or 0 for row in course.operations)
    assert bins["count"] * bins["width_us"] > course.end_us
    for node, track in course.tracks.items():
        assert page.overview["commits"][str(node)]["v"][-1] == track.commit.values[-1]


def test_elections_and_failed_operations_are_explained(course: Course, page: DecodedPage) -> None:
    for row, election in zip(page.overview["elections"], course.elections, strict=True):
        explanation = explain(course, election)
        assert (row["title"], tuple(row["sentences"])) == (explanation.title, explanation.sentences)
        assert len(row["rounds"]) == len(election.rounds)
    failed = [n for n, each in enumerate(course.operations) if each.outcome == "unknown"]
    assert failed
    for number in failed:
        sentences = explain(course, course.operations[number]).sentences
        assert tuple(page.overview["sentences"][str(number)]) == sentences


def test_operations_name_their_events(course: Course, page: DecodedPage) -> None:
    operations = page.overview["operations"]
    for number, row in enumerate(course.operations):
        begin = course.records[operations["place"][number]]
        assert begin.values[:3] == ("invoke", row.client, row.op_id)
        if row.end_us is not None:
            end = course.records[operations["end_event"][number]]
            assert end.values[:3] == (row.outcome, row.client, row.op_id)


def test_many_operations_are_in_the_chunks(
    course: Course, page: DecodedPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_page, "MOST_OVERVIEW_OPERATIONS", 10)
    monkeypatch.setattr(view_page, "CHUNK_EVENTS", CHUNK)
    many = decoded(course)
    operations = many.overview["operations"]
    assert (operations["chunked"], operations["count"]) == (True, len(course.operations))
    assert operations["keys"] == ["k0", "k1", "k2"]
    assert many.overview["totals"] == page.overview["totals"]
    failed = [n for n, row in enumerate(course.operations) if row.outcome != "ok"]
    assert sorted(operations["failed"]["number"]) == failed
    assert page.overview["totals"]["failed_writes"] > 0
    columns = [chunk["operations"] for chunk in many.chunks]
    for chunk, first in zip(many.chunks[1:], operations["firsts"][1:], strict=True):
        start_us = chunk["keyframe"]["t"]
        assert chunk["waiting"]["number"] == [
            number
            for number, row in enumerate(course.operations[:first])
            if row.end_us is None or row.end_us >= start_us
        ]
    for name, values in page.overview["operations"].items():
        assert [cell for part in columns for cell in part[name]] == values
    numbers = [number for part in columns for number in part["number"]]
    assert numbers == list(range(len(course.operations)))


def test_a_part_of_the_run(course: Course) -> None:
    part = decoded(course, 1000, 2000)
    assert part.head["part"]
    assert (part.head["begin_us"], part.head["end_us"]) == (1_000_000, 2_000_000)
    within = [r for r in course.records if 1_000_000 <= r.t_us - course.origin_us <= 2_000_000]
    assert part.records(course.origin_us) == within
    assert part.chunks[0]["keyframe"]["nodes"]["1"]["commit"] > 0
    events = part.events(0)
    assert all(0 <= event["event"] + event.get("mate", 0) < len(within) for event in events)
    assert part.overview["history"]["absent"].startswith("the page shows a part of the run")
    assert all(
        0 <= event < len(within) for rows in part.overview["marks"].values() for event, _ in rows
    )


def test_times_of_real_nodes_count_from_the_begin_of_the_cluster() -> None:
    """A node may have waited long for the others."""
    header = {"schema": 1, "name": "node 1", "seed": 0, "nodes": [1]}
    voters = {"index": 1, "voters": [1], "voters_outgoing": [], "learners": []}
    roles = [
        TraceRecord(t_us, "role", 1, {"role": "leader", "term": term, "leader": 1})
        for term, t_us in enumerate((20_000_000, 21_000_000, 22_000_000), 1)
    ]
    course = read_course(
        [
            TraceRecord(1_000_000, "run", 0, header),
            TraceRecord(1_000_000, "up", 1, {"term": 0, "commit": 0, "last_index": 0}),
            TraceRecord(20_000_000, "config", 1, voters),
            *roles,
        ]
    )
    assert course.begin_us == 18_500_000
    whole_page, part = decoded(course), decoded(course, 1000, 2000)
    assert whole_page.head["zero_us"] == part.head["zero_us"] == course.begin_us
    assert (part.head["begin_us"], part.head["end_us"]) == (19_500_000, 20_500_000)
    assert [record.t_us for record in part.records(course.origin_us)] == [21_000_000]
    with pytest.raises(ConfigError, match="from 9000 to 9500 ms: the run lasts from 0 to 2500 ms"):
        decoded(course, 9000, 9500)


def test_a_part_without_events(course: Course) -> None:
    with pytest.raises(ConfigError, match="no event from 8000 to 9000 ms: the run lasts from 0 to"):
        decoded(course, 8000, 9000)


def test_a_page_with_too_many_events(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_page, "MOST_EVENTS", 1000)
    with pytest.raises(ConfigError, match=r"at most 1000: choose a part .* --from-ms and --to-ms"):
        decoded(course)
    assert decoded(course, 1000, 1100).head["events"] < 1000


def test_unusual_ids_are_kept() -> None:
    column = IdColumn().stored([1, 1, 2, 1, 1], ["1-5", "1-7", "1-8", "", "1-07"])
    assert column == [5, 2, "1-8", "", "1-07"]


def test_texts_of_any_language() -> None:
    content = {"note": "Knoten größer </script>"}
    assert "<" not in deflated(content)
    assert inflated(deflated(content)) == content


def test_the_head_is_small(page: DecodedPage) -> None:
    """The browser parses it before it shows anything."""
    assert len(json.dumps(page.head)) < 10_000
