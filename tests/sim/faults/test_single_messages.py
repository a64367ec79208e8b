"""Single messages between nodes: dropped, or held and released."""

from __future__ import annotations

import pytest

from qcore.errors import ConfigError
from qcore.sim import World
from qcore.trace import TraceRecord, TraceWriter, parse_trace
from tests.sim.support.scenario_texts import failures, run, scenario, seen

SILENT = "{clients: 0}"


def trace(timeline: str, **parts: str) -> tuple[World, list[TraceRecord]]:
    """Run a small scenario without clients, and return its world and trace."""
    writer = TraceWriter(keep=True)
    world = World(scenario(timeline, workload=SILENT, **parts), 1, writer)  # type: ignore[arg-type]  # texts only
    world.run()
    return world, list(parse_trace(writer.lines()))


def outcomes(records: list[TraceRecord], message: str, after_us: int) -> list[tuple[str, int, str]]:
    """(`recv` or `drop`, when, message id) of each message of this type that was sent after a time."""
    ids = [
        r.fields["id"]
        for r in records
        if r.kind == "send" and r.fields["message"] == message and r.t_us >= after_us
    ]
    return [
        (r.kind, r.t_us, r.fields["id"])
        for r in records
        if r.kind in ("recv", "drop") and r.fields["id"] in ids
    ]


def test_exactly_the_next_message_is_dropped() -> None:
    world, records = trace("[{at_ms: 1000, drop: AppendEntries}]")
    drops = [r for r in records if r.kind == "drop"]
    assert [r.fields["note"] for r in drops] == ["dropped by the timeline"]
    assert drops[0].t_us >= 1_000_000
    assert [fault.acted for fault in world.ledger] == [1]
    kinds = {kind for kind, _, _ in outcomes(records, "AppendEntries", drops[0].t_us + 1)}
    assert kinds == {"recv"}


def test_a_drop_applies_to_its_link_and_number_only() -> None:
    world, records = trace(
        "[{at_ms: 1000, drop: {message: [AppendEntries, AppendEntriesResponse], from: leader, to: follower_1,"
        " times: 3}}]"
    )
    drops = [r for r in records if r.kind == "drop"]
    assert len(drops) == 3
    assert len({(r.fields["from"], r.node) for r in drops}) == 1
    assert {r.fields["message"] for r in drops} == {"AppendEntries"}
    assert [fault.acted for fault in world.ledger] == [3]


@pytest.mark.parametrize(
    "end",
    [
        "for_ms: 300",
        "until_ms: 1300",
        "for_ms: 300, until_ms: 2000",
        "for_ms: 1000, until_ms: 1300",
    ],
)
def test_a_drop_stops_when_it_is_disarmed(end: str) -> None:
    _, records = trace(
        f"[{{at_ms: 1000, drop: {{message: AppendEntries, to: follower_1, times: all}}, {end}}}]"
    )
    times = [r.t_us for r in records if r.kind == "drop"]
    assert len(times) > 3
    assert min(times) >= 1_000_000
    assert max(times) < 1_300_000


def test_held_messages_arrive_in_order_when_released() -> None:
    world, records = trace(
        "[{at_ms: 1000, hold: {message: AppendEntries, from: leader, to: follower_1, times: 3}, label: late},"
        " {at_ms: 1250, release: late}]"
    )
    at_release = [f for f in outcomes(records, "AppendEntries", 1_000_000) if f[1] == 1_250_000]
    held = [
        r.fields["note"].removeprefix("holds ")
        for r in records
        if r.kind == "fault" and r.fields["note"].startswith("holds ")
    ]
    assert len(held) == 3
    assert [f[2] for f in at_release if f[2] in held] == held
    assert {f[0] for f in at_release} == {"recv"}
    # A later message overtook them.
    assert [f for f in outcomes(records, "AppendEntries", 1_150_000) if f[1] < 1_250_000]
    assert [fault.acted for fault in world.ledger] == [3, 3]


def test_a_cut_that_ends_before_release_spares_a_held_message() -> None:
    timeline = (
        "[{at_ms: 1000, hold: {message: AppendEntries, to: follower_1}, for_ms: 200},"
        " {at_ms: 1100, isolate: follower_1, for_ms: CUT}]"
    )
    for cut_ms, outcome in (("50", "recv"), ("400", "drop")):
        _, records = trace(timeline.replace("CUT", cut_ms))
        (held,) = [
            r.fields["note"].removeprefix("holds ")
            for r in records
            if r.kind == "fault" and r.fields["note"].startswith("holds ")
        ]
        found = [f for f in outcomes(records, "AppendEntries", 1_000_000) if f[2] == held]
        assert found == [(outcome, 1_200_000, held)]


def test_messages_lost_to_a_cut_are_neither_held_nor_dropped() -> None:
    _, records = trace(
        "[{at_ms: 1000, isolate: follower_1, for_ms: 100},"
        " {at_ms: 1000, drop: {message: AppendEntries, to: follower_1}}]"
    )
    notes = [r.fields["note"] for r in records if r.kind == "drop" and r.t_us >= 1_000_000]
    assert notes.count("dropped by the timeline") == 1
    first = next(r for r in records if r.kind == "drop" and "timeline" in r.fields["note"])
    assert first.t_us >= 1_100_000


def test_entries_selects_appends_and_not_heartbeats() -> None:
    result = run(
        "[{at_ms: 1000, hold: {message: AppendEntries, entries: true, times: all}, for_ms: 1000},"
        " {at_ms: 1100, write: {node: leader, key: x, value: 1, timeout_ms: 400, outcome: timeout}},"
        " {at_ms: 2500, read: {node: leader, key: x, expect: 1}}]",
        "{same_leader: true, converges: true}",
        workload=SILENT,
    )
    assert result.ok, failures(result)


def test_a_drop_without_a_matching_message_fails_the_run() -> None:
    result = run("[{at_ms: 1000, drop: TimeoutNow}]", workload=SILENT)
    assert "never acted" in seen(result)["every_fault_acted"]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("drop: Vote", "no message is called 'Vote'"),
        ("drop: {message: PreVote, entries: true}", "goes with message: AppendEntries"),
        ("hold: {message: PreVote, from: 9}", "node 9 is not in the cluster"),
        ("hold: {message: PreVote, times: 0}", "0 is not at least 1"),
        ("release: late", "no item has the label 'late'"),
        ("drop: {}", "name the `message`, or the links"),
    ],
)
def test_invalid_message_actions_are_rejected(action: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scenario(f"[{{at_ms: 1, {action}}}]")


def test_a_held_response_of_a_wiped_sender_is_dropped() -> None:
    """The members refuse a wiped node, so no connection is left for its response."""
    timeline = (
        "[{at_ms: 1000, hold: {message: AppendEntriesResponse, from: 3, to: leader}, for_ms: 1000},"
        " {at_ms: 1500, %s: 3, for_ms: 100}]"
    )
    for fault, outcome, note in (
        ("wipe", "drop", "its connection is gone"),
        ("crash", "recv", None),
    ):
        _, records = trace(timeline % fault, cluster="{nodes: 3, priorities: {3: 0}}")
        (held,) = [
            r.fields["note"].removeprefix("holds ")
            for r in records
            if r.kind == "fault" and r.fields["note"].startswith("holds ")
        ]
        found = [f for f in outcomes(records, "AppendEntriesResponse", 900_000) if f[2] == held]
        assert found == [(outcome, 2_000_000, held)]
        (end,) = [r for r in records if r.kind == outcome and r.fields["id"] == held]
        assert end.fields.get("note") == note
