"""The same scenario and seed give the same run, in every process, and unaffected by later faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qcore.sim import parse_scenario, run_scenario
from qcore.trace import TraceWriter, hash_of, parse_trace
from tests.checkout import SCENARIOS

FAULTS = """
  - {at_ms: 1000, partition: [[leader, random], [rest]], for_ms: 700}
  - {at_ms: 2000, crash: {random: 2}, for_ms: 300}
  - {at_ms: 2600, network: {loss: 0.3, duplicate: 0.3, reorder: 0.3}, for_ms: 400}
  - {at_ms: 500, hold: {message: [AppendEntries, AppendEntriesResponse], from: leader, times: all}, for_ms: 60}
  - {at_ms: 700, drop: {message: AppendEntriesResponse, to: leader, times: 3}}
  - {at_ms: 1500, power_loss: {nodes: all, survives: random}, for_ms: 50, every_ms: 300, times: 2}
  - {at_ms: 3100, wipe: follower_1, for_ms: 100}
  - {at_ms: 3100, restart: {nodes: follower_2, settings: {election_timeout_ms: [200, 500], keep_entries: 10}}}
  - {at_ms: 3150, read: {node: all, key: k1, read_kind: [stale_read, follower_read], max_staleness_ms: 90}}
"""


def text(faults: str = FAULTS, seed_name: str = "busy") -> str:
    return f"""
name: {seed_name}
cluster: {{nodes: 5, clocks: {{2: {{drift_ppm: 5000}}}}, settings: {{3: {{priority: 2}}}}, lease_reads: true}}
network: {{latency_ms: {{exponential: 3, min_ms: 1}}}}
workload: {{clients: 4, rate_per_s: 80,
  read_kind: [read, lease_read, follower_read, stale_read], watchers: {{count: 4, move_every_ms: 400}}}}
timeline: {faults}
until_ms: 4000
"""


def trace_of(scenario_text: str, seed: int) -> tuple[list[str], str]:
    writer = TraceWriter(keep=True)
    result = run_scenario(parse_scenario(scenario_text), seed, trace=writer)
    return writer.lines(), result.trace_sha256


def run_in_process(path: Path, hash_seed: str, *options: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "qcore", "sim", "run", str(path), "-o", "json", *options],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_two_processes_with_two_hash_seeds_give_one_trace(tmp_path: Path) -> None:
    path = tmp_path / "busy.yaml"
    path.write_text(text())
    traces = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    one = run_in_process(path, "1", "--seed", "11", "--trace", str(traces[0]))
    two = run_in_process(path, "2", "--seed", "11", "--trace", str(traces[1]))
    assert one == two
    assert traces[0].read_bytes() == traces[1].read_bytes()
    assert one["trace_sha256"] == trace_of(text(), 11)[1]


ENTITIES = """
name: entities
cluster: {nodes: 3, machine: entity, snapshot_entries: 30, keep_entries: 5}
network: {latency_ms: {uniform: [1, 5]}, loss: 0.02, duplicate: 0.02}
workload: {clients: 3, rate_per_s: 80, keys: 3,
  watchers: {count: 8, topics: [k0, k1, k2, Register], move_every_ms: 300, away_ms: 50}}
timeline:
  - {at_ms: 800, crash: leader, for_ms: 300}
  - {at_ms: 1000, isolate: follower_1, for_ms: 900}
until_ms: 2500
"""


def test_watchers_of_entities_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    path = tmp_path / "entities.yaml"
    path.write_text(ENTITIES)
    one, two = (run_in_process(path, hash_seed, "--seed", "3") for hash_seed in ("1", "2"))
    assert one == two
    assert one["metrics"]["watches"]["notices"] > 100  # type: ignore[index]  # a nested object
    assert one["violations"] == []


def test_the_seed_determines_the_run() -> None:
    assert trace_of(text(), 5) == trace_of(text(), 5)
    assert trace_of(text(), 5)[1] != trace_of(text(), 6)[1]


def test_a_fault_changes_nothing_before_it_happens() -> None:
    later = FAULTS + "  - {at_ms: 3200, isolate: {random: 1}, for_ms: 300}\n"
    before, _ = trace_of(text(), 7)
    after, _ = trace_of(text(later), 7)
    assert before != after

    def until(lines: list[str]) -> list[str]:
        return [line for line in lines if json.loads(line)["t_us"] < 3_200_000]

    assert until(before) == until(after)


def test_the_trace_hash_covers_all_records() -> None:
    lines, digest = trace_of(text(), 9)
    records = list(parse_trace(lines))
    assert hash_of(records) == digest
    assert len(records) == len(lines)
    times = [record.t_us for record in records]
    assert times == sorted(times)
    kinds = {record.kind for record in records}
    assert kinds >= {"run", "up", "down", "role", "vote", "commit", "apply", "send", "recv", "drop"}
    assert kinds >= {"fault", "op", "watch"}


def test_a_traced_message_is_received_dropped_or_in_flight() -> None:
    lines, _ = trace_of(text("[]"), 3)
    sent: dict[str, int] = {}
    for record in parse_trace(lines):
        if record.kind == "send":
            assert record.fields["id"] not in sent
            sent[record.fields["id"]] = record.t_us
        elif record.kind in ("recv", "drop"):
            assert sent.pop(record.fields["id"]) <= record.t_us
    assert all(time > 3_900_000 for time in sent.values())


def test_a_verdict_does_not_depend_on_where_the_trace_goes(tmp_path: Path) -> None:
    scenario = parse_scenario(text())
    path = tmp_path / "trace.jsonl"
    with_file = run_scenario(scenario, 4, trace=path)
    assert with_file == run_scenario(scenario, 4)
    assert len(path.read_text().splitlines()) > 1000


def test_whole_nodes_give_one_trace_in_another_process(tmp_path: Path) -> None:
    whole = text(FAULTS, "whole").replace("name: whole", "name: whole\nfidelity: node")
    path = tmp_path / "whole.yaml"
    path.write_text(whole)
    other = run_in_process(path, "3", "--seed", "11")
    assert other["trace_sha256"] == trace_of(whole, 11)[1]


@pytest.mark.long
def test_clients_of_whole_nodes_give_one_trace(tmp_path: Path) -> None:
    other = run_in_process(SCENARIOS / "node_client_failover.yaml", "4", "--seed", "5")
    assert other["trace_sha256"] == run_scenario("node_client_failover", 5).trace_sha256
