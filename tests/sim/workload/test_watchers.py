"""Watchers in the simulator: what they see, through which faults, and how a scenario describes them."""

from __future__ import annotations

import pytest

from qcore.errors import ConfigError
from qcore.sim import run_scenario
from qcore.trace import TraceWriter, parse_trace
from tests.sim.support.scenario_texts import failures, run, scenario

MOVING = "{clients: 2, rate_per_s: 100, cas_fraction: 0.0, keys: 2, watchers: {count: 4, move_every_ms: 300}}"


def test_the_trace_shows_what_each_watcher_sees() -> None:
    trace = TraceWriter(keep=True)
    result = run_scenario(scenario(workload=MOVING), 1, trace=trace)
    assert result.ok, failures(result)
    records = [record for record in parse_trace(trace.lines()) if record.kind == "watch"]
    phases = {record.fields["phase"] for record in records}
    assert phases == {"invoke", "ok", "notice", "ended"}
    notices = [record for record in records if record.fields["phase"] == "notice"]
    counts = result.metrics["watches"]
    assert isinstance(counts, dict)
    assert counts["notices"] == len(notices) > 100
    assert {record.fields["topic"] for record in notices} == {"k0", "k1"}
    for watcher in {record.fields["client"] for record in notices}:
        seen = [
            (record.fields["index"], record.fields["sequence"])
            for record in notices
            if record.fields["client"] == watcher
        ]
        assert seen == sorted(set(seen))


@pytest.mark.parametrize(
    "network",
    [
        "{latency_ms: [1, 5], clients: {loss: 0.05}}",
        "{latency_ms: [1, 30], loss: 0.05, duplicate: 0.1, reorder: 0.1}",
    ],
)
def test_lost_messages_break_connections_and_lose_no_change(network: str) -> None:
    for seed in (1, 2):
        result = run(
            "[]",
            "{safe: true, watchers_complete: true, watches_resumed: '>= 1'}",
            seed,
            network=network,
            workload=MOVING.replace("clients", "stop_ms: 2500, clients"),
            until_ms="4500",
        )
        assert result.ok, (seed, failures(result), result.violations)


@pytest.mark.parametrize(
    "action",
    [
        "{pause: {random: 2}, for_ms: 900}",
        "{isolate: {nodes: leader, clients: true}, for_ms: 900}",
        "{power_loss: all, for_ms: 300}",
        "{cut: {from: clients, to: leader}, for_ms: 900}",
    ],
)
def test_watchers_resume_through_faults(action: str) -> None:
    for seed in (1, 2):
        result = run(
            f"[{{at_ms: 1200, {action[1:-1]}}}]",
            "{safe: true, watchers_complete: true, watches_resumed: '>= 1'}",
            seed,
            workload=MOVING,
            until_ms="5000",
        )
        assert result.ok, (seed, failures(result), result.violations)


def test_watchers_of_repeated_commands_see_each_increment_once() -> None:
    result = run(
        "[{at_ms: 1000, crash: leader, for_ms: 500}]",
        "{exactly_once: true, watchers_complete: true, notices: '>= 50'}",
        workload="{clients: 2, rate_per_s: 60, stop_ms: 2500, sessions: true, keys: 1, watchers: 2}",
        network="{latency_ms: [1, 5], clients: {loss: 0.05}}",
        until_ms="4000",
    )
    assert result.ok, (failures(result), result.violations)


@pytest.mark.parametrize(
    ("machine", "workload", "message"),
    [
        (
            "entity",
            "{keys: 2, watchers: {count: 1, topics: [k0, k9]}}",
            "are no registers of the workload",
        ),
        (
            "tests.sim.invariants.test_watch_checker:OddMachine",
            "{requests: [{write: a}], watchers: 1}",
            "give them `topics`",
        ),
    ],
)
def test_topics_must_exist(machine: str, workload: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(cluster=f"{{nodes: 3, machine: '{machine}'}}", workload=workload)


def test_expectations_about_watchers_need_watchers() -> None:
    with pytest.raises(ConfigError, match=r"expect\.notices is about watchers"):
        scenario(expect="{notices: '>= 1'}")
