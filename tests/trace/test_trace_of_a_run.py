"""A run writes one trace, whatever its format; readers and tables find the same in each."""

from __future__ import annotations

import random
from io import BytesIO, StringIO
from pathlib import Path
from typing import Literal

import pytest

from qcore.analysis import LEADERSHIP_KINDS, load, merge, read_tables
from qcore.errors import ConfigError
from qcore.machines import RegisterMachine
from qcore.sim import TraceWriter, parse_scenario, run_scenario
from qcore.trace import CompactTrace, TraceRecord, open_trace, parse_trace, read_trace

SCENARIO = """
name: busy
cluster: {nodes: 5, lease_reads: true}
network: {latency_ms: {exponential: 3, min_ms: 1}}
workload: {clients: 4, rate_per_s: 200, read_kind: [read, stale_read], watchers: {count: 4, move_every_ms: 400}}
timeline:
  - {at_ms: 700, partition: [[leader, random], [rest]], for_ms: 500}
  - {at_ms: 1400, crash: {random: 2}, for_ms: 300}
  - {at_ms: 1500, pause: follower_1, for_ms: 200}
  - {at_ms: 1800, network: {loss: 0.3, duplicate: 0.3}, for_ms: 300}
  - {at_ms: 2200, join: 6}
until_ms: 3000
"""


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same run as a compact trace and as JSON lines."""
    folder = tmp_path_factory.mktemp("traces")
    compact, lines = folder / "run.qtrace", folder / "run.jsonl"
    hashes = {
        run_scenario(parse_scenario(SCENARIO), 1, trace=path).trace_sha256
        for path in (compact, lines)
    }
    assert len(hashes) == 1
    with open_trace(compact) as trace:
        assert isinstance(trace, CompactTrace)
        assert {trace.stored_sha256, trace.compute_sha256()} == hashes
    return compact, lines


def test_the_suffix_decides_the_format(tmp_path: Path) -> None:
    scenario = parse_scenario("cluster: {nodes: 1}\nuntil_ms: 500\n")
    for name, is_json in (
        ("a.jsonl", True),
        ("a.JSON", True),
        ("a.ndjson", True),
        ("a.qtrace", False),
        ("a", False),
        ("jsonl", False),
    ):
        run_scenario(scenario, trace=tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b'{"t_us":0') == is_json
        assert read_trace(tmp_path / name) == read_trace(tmp_path / "a.jsonl")


def test_a_text_stream_gets_json_lines() -> None:
    scenario = parse_scenario("cluster: {nodes: 1}\nuntil_ms: 500\n")
    text, binary = StringIO(), BytesIO()
    assert run_scenario(scenario, trace=text) == run_scenario(scenario, trace=binary)
    assert CompactTrace(binary.getvalue()).records() == list(
        parse_trace(text.getvalue().split("\n"))
    )


def test_both_formats_hold_the_same_records(traces: tuple[Path, Path]) -> None:
    compact, lines = map(read_trace, traces)
    assert compact == lines
    assert {record.kind for record in compact} >= {"watch", "fault", "drop", "down", "op"}
    assert traces[0].stat().st_size * 8 < traces[1].stat().st_size


@pytest.mark.parametrize("kinds", [None, LEADERSHIP_KINDS, {"op"}, {"send", "commit", "run"}])
def test_both_formats_give_the_same_tables(
    traces: tuple[Path, Path], kinds: set[str] | None
) -> None:
    compact, lines = (read_tables(path, kinds=kinds) for path in traces)
    assert compact == lines
    assert load(traces[0], kinds=kinds) == load(traces[1], kinds=kinds)
    records = read_trace(traces[1])
    assert read_tables(records, kinds=kinds) == lines
    writer = TraceWriter(keep=True)
    for record in records:
        writer.record(record)
    assert read_tables(writer, kinds=kinds) == read_tables(writer.trace(), kinds=kinds) == lines


def test_traces_of_both_formats_are_merged(traces: tuple[Path, Path]) -> None:
    compact, lines = traces
    assert merge(compact, lines, kinds={"role"}) == merge(lines, lines, kinds={"role"})


@pytest.mark.parametrize("kinds", [None, LEADERSHIP_KINDS])
def test_a_cut_compact_trace_has_a_gap_at_its_end(
    traces: tuple[Path, Path], tmp_path: Path, kinds: set[str] | None
) -> None:
    cut = tmp_path / "cut.qtrace"
    content = traces[0].read_bytes()
    cut.write_bytes(content[: len(content) * 3 // 4])
    with open_trace(cut) as trace:
        assert isinstance(trace, CompactTrace)
        last_us = trace.last_us()
    tables = read_tables(cut, kinds=kinds)
    assert [(gap.start_us, gap.end_us) for gap in tables.gaps] == [(last_us, last_us)]
    assert tables.end_us == last_us
    assert tables.nodes == (1, 2, 3, 4, 5)


def test_a_node_that_was_killed_counts_as_down() -> None:
    """The trace of a real node that was converted: only its last record of any kind shows when it stopped."""
    records: list[TraceRecord] = []
    for node, until_ms in ((1, 1_000), (2, 3_000)):
        writer = TraceWriter(keep=True)
        writer.run(0, f"node {node}", 0, [node])
        writer.up(0, node, 1, 0, 0)
        writer.role(1, node, "leader" if node == 1 else "follower", 1, 1)
        for at_ms in range(10, until_ms, 50):
            writer.send(at_ms * 1000, node, 3 - node, "", "AppendEntries", 1, "")
        records += writer.trace().records()
    records.sort(key=lambda record: record.t_us)
    writer = TraceWriter(keep=True)
    for record in records:
        writer.record(record)
    assert read_tables(writer.trace()) == read_tables(records)
    last = [span for span in read_tables(writer).role_spans if span.node == 1][-1]
    assert (last.role, last.why, last.start_us) == ("down", "silent", 960_000)


def test_a_failed_run_leaves_its_records_and_says_so(tmp_path: Path) -> None:
    """The records up to the failure are what the user needs to find its cause."""
    calls = 0

    def requests(rng: random.Random) -> tuple[Literal["write"], str]:
        nonlocal calls
        calls += 1
        if calls == 100:
            raise ValueError("the fault of a user")
        return "write", f"set k {rng.randrange(9)}"

    path = tmp_path / "run.qtrace"
    scenario = parse_scenario("workload: {clients: 2, rate_per_s: 200}\nuntil_ms: 3000\n")
    with pytest.raises(ConfigError, match="the fault of a user"):
        run_scenario(scenario, trace=path, machine=RegisterMachine, requests=requests)
    *records, note = read_trace(path)
    invoked = [r for r in records if r.kind == "op" and r.fields["phase"] == "invoke"]
    assert len(invoked) >= 98
    assert note.fields["fault"] == "trace"
    assert "records are missing" in note.fields["note"]
