"""Increments in client sessions: repeated after every doubt, counted once; and counted twice without the guard."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.errors import ConfigError
from qcore.replica import sessions
from qcore.replica.sessions import Session, SessionTable
from qcore.sim import World, run_scenario
from qcore.trace import TraceWriter
from tests.sim.scenario_texts import failures, run, scenario, seen

PATH = Path(__file__).parent.parent.parent / "scenarios" / "retry_exactly_once.yaml"
LOSSY = "{latency_ms: 2, clients: {loss: 0.2}}"
COUNTING = "{clients: 3, rate_per_s: 60, keys: 2, sessions: true, timeout_ms: 20000, stop_ms: 2000}"


def test_lost_answers_are_asked_for_again_and_nothing_counts_twice() -> None:
    world = World(scenario(network=LOSSY, workload=COUNTING, until_ms=5000), 1, TraceWriter())
    world.run()
    entries = [entry.data for entry in world.nodes[1].applied if entry.kind == "session"]
    assert len(entries) - len(set(entries)) > 10, "some increments are in the log twice"
    result = run(
        "[]",
        "{exactly_once: true, every_write_succeeds: true}",
        network=LOSSY,
        workload=COUNTING,
        until_ms="5000",
    )
    assert result.ok, failures(result)
    assert result.metrics["repeated_requests"] > 10  # type: ignore[operator]  # a number


def test_without_recorded_replies_increments_count_twice_and_that_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """P12: the guard is the table of replies."""
    run_once = sessions._run

    def forgetful(session: Session, *rest: object) -> object:
        outcome = run_once(session, *rest)  # type: ignore[arg-type]  # passed on as they came
        session.replies.clear()
        return outcome

    monkeypatch.setattr(sessions, "_run", forgetful)
    result = run_scenario(PATH, 1)
    assert [e.name for e in result.failed()] == ["exactly_once"]


def test_sessions_that_stay_behind_at_a_snapshot_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """P12 across a snapshot: a table that does not travel with it makes replicas differ."""
    monkeypatch.setattr(SessionTable, "dump", lambda _table: "[]")
    result = run_scenario(PATH, 1)
    assert not result.ok


def test_exactly_once_fails_when_nothing_was_counted() -> None:
    result = run("[]", "{exactly_once: true}", workload="{clients: 0, sessions: true}")
    assert "no increment" in seen(result)["exactly_once"]
    assert not result.ok


def test_sessions_need_the_key_value_machine() -> None:
    with pytest.raises(ConfigError, match="sessions"):
        scenario(cluster="{nodes: 3, machine: entity}", workload="{sessions: true}")
