"""Increments in client sessions count exactly once, however often they are sent, but twice without the safeguard."""

from __future__ import annotations

import pytest

from qcore.errors import ConfigError
from qcore.replica.sessions import session_table
from qcore.replica.sessions.client_session import Session
from qcore.replica.sessions.session_table import SessionTable
from qcore.sim import World, run_scenario
from qcore.sim.scenario.load import parse_scenario
from qcore.sim.workload.workload import SessionWorkload
from qcore.trace import TraceWriter
from tests.checkout import SCENARIOS
from tests.sim.support.scenario_texts import failures, run, scenario, seen

PATH = SCENARIOS / "retry_exactly_once.yaml"
LOSSY = "{latency_ms: 2, clients: {loss: 0.2}}"
COUNTING = "{clients: 3, rate_per_s: 60, keys: 2, sessions: true, timeout_ms: 20000, stop_ms: 2000}"


def test_retries_after_lost_responses_count_nothing_twice() -> None:
    world = World(scenario(network=LOSSY, workload=COUNTING, until_ms=5000), 1, TraceWriter())
    world.run()
    entries = [entry.data for entry in world.nodes[1].applied if entry.kind == "session"]
    assert len(entries) - len(set(entries)) > 10, (
        "some increments must be in the log twice, or the test shows nothing"
    )
    result = run(
        "[]",
        "{exactly_once: true, every_write_succeeds: true}",
        network=LOSSY,
        workload=COUNTING,
        until_ms="5000",
    )
    assert result.ok, failures(result)
    assert result.metrics["repeated_requests"] > 10  # type: ignore[operator]  # a number


def test_double_counting_without_recorded_replies_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """P12: the safeguard is the table of replies."""
    run_once = session_table._run

    def without_replies(session: Session, *rest: object) -> object:
        outcome = run_once(session, *rest)  # type: ignore[arg-type]  # passed on unchanged
        session.replies.clear()
        return outcome

    monkeypatch.setattr(session_table, "_run", without_replies)
    result = run_scenario(PATH, 1)
    assert [e.name for e in result.failed()] == ["exactly_once"]


def test_a_snapshot_without_the_session_table_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """P12 across a snapshot: if the table is not in it, replicas diverge."""
    monkeypatch.setattr(SessionTable, "dump", lambda _table, _rules: iter(["[]\n"]))
    result = run_scenario(PATH, 1)
    assert not result.ok


def test_exactly_once_fails_when_nothing_was_counted() -> None:
    result = run("[]", "{exactly_once: true}", workload="{clients: 0, sessions: true}")
    assert "no increment" in seen(result)["exactly_once"]
    assert not result.ok


def test_sessions_need_the_key_value_machine() -> None:
    with pytest.raises(ConfigError, match="sessions"):
        scenario(cluster="{nodes: 3, machine: entity}", workload="{sessions: true}")


def test_an_increment_in_an_expired_session_is_rejected() -> None:
    """0.4 to 1.4 s pass between two operations, and a session may be idle for 1 s."""
    idle = "{clients: 1, sessions: true, session_lifetime_ms: 1000, think_ms: [400, 1400]}"
    result = run(
        "[]",
        "{sessions_expired: '>= 2', exactly_once: true, safe: true}",
        workload=idle,
        until_ms="20000",
    )
    assert result.ok, failures(result)
    world = World(scenario(workload=idle, until_ms=20_000), 1, TraceWriter())
    world.run()
    rejected = [op for op in world.history if op.note == "SessionExpired"]
    (load,) = world.workloads
    assert isinstance(load, SessionWorkload)
    assert len(rejected) == load.expired == load.opened - 1 >= 2
    assert all(op.outcome == "refused" for op in rejected)


def test_the_session_lifetime_has_a_default_and_bounds() -> None:
    result = run(
        workload="{clients: 1, sessions: true, think_ms: 1200}", expect="{sessions_expired: 0}"
    )
    assert result.ok, failures(result)
    for lifetime_ms in (999, 86_400_001):
        with pytest.raises(ConfigError, match="session_lifetime_ms"):
            scenario(workload=f"{{sessions: true, session_lifetime_ms: {lifetime_ms}}}")


@pytest.mark.parametrize("seed", [1, 2])
def test_no_session_expires_while_nothing_is_committed(seed: int) -> None:
    """Followers with stalled disks still answer heartbeats, and the leader rejects new commands: sessions are idle."""
    spec = parse_scenario(
        "name: x\nsummary: x\ncluster: {nodes: 3, max_uncommitted_bytes: 6000}\n"
        "workload: {clients: 6, rate_per_s: 15, keys: 2, sessions: true, session_lifetime_ms: 2500,"
        " attempt_ms: 250, timeout_ms: 3000, stop_ms: 14000}\n"
        "timeline: [{at_ms: 3000, disk_stall: followers, for_ms: 7000}]\nuntil_ms: 16000\n"
        "expect: {sessions_expired: 0, leader_changes: 0}\n"
    )
    result = run_scenario(spec, seed)
    assert result.ok, result.failed()


@pytest.mark.parametrize("kind", ["read", "stale_read"])
def test_a_counter_read_is_not_judged_as_a_register_read(kind: str) -> None:
    """It finds a number that no client wrote: the sum of increments."""
    result = run(
        f"[{{at_ms: 1500, read: {{node: leader, key: k1, read_kind: {kind}, outcome: ok}}}}]",
        "{safe: true, exactly_once: true}",
        workload=COUNTING,
    )
    assert result.ok, failures(result)


def test_a_register_beside_the_counters_is_judged() -> None:
    timeline = (
        "[{at_ms: 1000, write: {node: leader, key: x, value: 1, outcome: ok}},"
        " {at_ms: 1500, read: {node: leader, key: x, expect: 1}}]"
    )
    world = World(scenario(timeline, workload=COUNTING), 1, TraceWriter())
    world.run()
    assert [op.key for op in world.register_history] == ["x", "x"]
    result = run(timeline, "{safe: true, exactly_once: true}", workload=COUNTING)
    assert result.ok, failures(result)


@pytest.mark.parametrize("write", ["leader", "{node: leader, key: k1}"])
def test_a_write_to_a_counter_is_rejected(write: str) -> None:
    timeline = f"[{{at_ms: 1000, write: {write}}}]"
    with pytest.raises(ConfigError, match=r"timeline\[0\]\.write: k\d is a counter"):
        scenario(timeline, workload=COUNTING)
    # Without clients there are no counters, so the write is allowed.
    scenario(timeline, workload="{clients: 0, sessions: true}")


@pytest.mark.parametrize("seed", range(1, 7))
def test_a_tick_in_flight_at_the_end_is_no_divergence(seed: int) -> None:
    """With half of these seeds, the run ends while a tick is not yet applied on all nodes."""
    spec = parse_scenario(
        "name: x\nsummary: x\nworkload: {sessions: true, session_lifetime_ms: 1000, clients: 5, rate_per_s: 60}\n"
        "until_ms: 5000\nexpect: {converges: true}\n"
    )
    result = run_scenario(spec, seed)
    assert result.ok, result.failed()
