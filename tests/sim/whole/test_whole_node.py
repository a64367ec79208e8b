"""What a whole node does with the faults of a timeline: its life, its messages, and errors that escape."""

from __future__ import annotations

import pytest

from qcore.errors import ConfigError
from qcore.node.peers.peer_router import PeerRouter
from qcore.sim import World, parse_scenario
from qcore.trace import TraceRecord, TraceWriter, parse_trace


def run_of(timeline: str, until_ms: int = 1500, **keys: str) -> tuple[World, list[TraceRecord]]:
    parts = {
        "cluster": "{nodes: 3}",
        "workload": "{clients: 1, rate_per_s: 40, wait_for_leader: true}",
        **keys,
    }
    text = "\n".join(f"{key}: {value}" for key, value in parts.items())
    writer = TraceWriter(keep=True)
    scenario = parse_scenario(
        f"name: whole\nfidelity: node\n{text}\ntimeline: {timeline}\nuntil_ms: {until_ms}\n"
    )
    world = World(scenario, 1, writer)
    world.run()
    return world, list(parse_trace(writer.lines()))


def sent_without_a_connection(records: list[TraceRecord], to: int, after_us: int) -> bool:
    """Whether a message to a node is dropped at its sender soon after this time."""
    return any(
        record.kind == "drop"
        and record.node == to
        and "no connection" in str(record.fields["note"])
        and after_us < record.t_us < after_us + 200_000
        for record in records
    )


@pytest.mark.parametrize(("fault", "is_noticed"), [("crash", True), ("power_loss", False)])
def test_a_crash_closes_connections_and_a_power_loss_does_not(fault: str, is_noticed: bool) -> None:
    _, records = run_of(f"[{{at_ms: 100, campaign: 1}}, {{at_ms: 1000, {fault}: 3}}]")
    assert sent_without_a_connection(records, 3, 1_000_000) == is_noticed


def test_a_dropped_message_was_sent_and_does_not_arrive() -> None:
    drop = "{message: AppendEntriesResponse, from: 2, to: 1, times: 3}"
    _, records = run_of(f"[{{at_ms: 100, campaign: 1}}, {{at_ms: 700, drop: {drop}}}]")
    dropped = [
        record.fields["id"]
        for record in records
        if record.kind == "drop" and record.fields["note"] == "dropped by the timeline"
    ]
    sent = {record.fields["id"] for record in records if record.kind == "send"}
    received = {record.fields["id"] for record in records if record.kind == "recv"}
    assert len(dropped) == 3
    assert {*dropped} <= sent - received


@pytest.mark.parametrize(
    ("timeline", "network", "note"),
    [
        ("[{at_ms: 100, campaign: 1}, {at_ms: 700, cut: {from: 1, to: 3}}]", "{}", "cut"),
        ("[]", "{loss: 0.05}", "lost"),
    ],
)
def test_a_lost_segment_between_nodes_is_in_the_trace(
    timeline: str, network: str, note: str
) -> None:
    world, records = run_of(timeline, network=network)
    lost = [r for r in records if r.kind == "drop" and r.fields["message"] == "Segment"]
    assert lost
    assert {str(r.fields["note"]) for r in lost} == {note}
    assert all(r.node > 0 for r in lost), "what clients lose is in no trace"
    assert all(str(r.fields["id"]).startswith(f"tcp-{r.fields['from']}-") for r in lost)
    assert len(lost) <= world.network.dropped


def test_a_held_message_arrives_when_it_is_released() -> None:
    hold = "{message: AppendEntries, from: 1, to: 3, times: all}"
    _, records = run_of(f"[{{at_ms: 100, campaign: 1}}, {{at_ms: 700, hold: {hold}, for_ms: 60}}]")
    held = {
        str(record.fields["note"]).removeprefix("holds ")
        for record in records
        if record.kind == "fault" and str(record.fields["note"]).startswith("holds ")
    }
    arrived = {
        record.fields["id"]: record.t_us
        for record in records
        if record.kind == "recv" and record.node == 3
    }
    assert held
    assert all(760_000 <= arrived[each] < 762_000 for each in held)


def test_an_event_waits_until_the_node_has_started() -> None:
    world, _ = run_of(
        "[{at_ms: 1000, crash: 2}, {at_ms: 1100, restart: 2, campaign: 2, snapshot: 2}]"
    )
    assert not world.result().violations
    assert world.nodes[2].state_history.captures == 1


def test_an_error_that_a_node_would_only_log_fails_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_router: PeerRouter, peer_id: int) -> None:
        raise LookupError(f"peer {peer_id}")

    monkeypatch.setattr(PeerRouter, "on_connected", fail)
    world, _ = run_of("[]", 300)
    notes = [each.note for each in world.services.violations if each.check == "node_failed"]
    assert any("LookupError: peer" in note for note in notes)


def test_the_work_of_a_step_takes_time() -> None:
    slow, fast = (run_of("[]", cluster=f"{{nodes: 3, event_us: {us}}}")[0] for us in (3000, 0))
    times = [
        sum(op.return_us - op.invoke_us for op in world.history if op.outcome == "ok")
        / max(1, sum(op.outcome == "ok" for op in world.history))
        for world in (slow, fast)
    ]
    assert times[0] > times[1] + 5000


def test_the_other_fidelity_has_no_computers() -> None:
    scenario = parse_scenario("name: plain\nuntil_ms: 100\n")
    assert scenario.fidelity == "replica"
    with pytest.raises(ConfigError, match="fidelity"):
        parse_scenario("name: plain\nfidelity: process\n")
