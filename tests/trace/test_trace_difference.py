"""The first record at which two traces part: in both formats, with context, without reading more than needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.cli.exits import ExitCode
from qcore.errors import ConfigError
from qcore.sim import parse_scenario, run_scenario, save_artifact
from qcore.trace import TraceRecord, diff_traces, read_trace
from tests.process.support.commands import run_here

SCENARIO = "name: short\nworkload: {clients: 1, rate_per_s: 20}\nuntil_ms: 700\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Traces of two seeds, in both formats."""
    folder = tmp_path_factory.mktemp("traces")
    for seed in (1, 2):
        for suffix in ("qtrace", "jsonl"):
            run_scenario(parse_scenario(SCENARIO), seed, trace=folder / f"{seed}.{suffix}")
    return folder


def test_the_same_run_in_two_formats_is_equal(folder: Path) -> None:
    assert diff_traces(folder / "1.qtrace", folder / "1.jsonl") is None


def test_runs_of_two_seeds_part_after_their_headers(folder: Path) -> None:
    found = diff_traces(folder / "1.qtrace", folder / "2.jsonl")
    assert found is not None
    assert found.headers is not None
    assert [header.fields["seed"] for header in found.headers] == [1, 2]
    first, second = read_trace(folder / "1.qtrace"), read_trace(folder / "2.qtrace")
    assert first[1 : found.index] == second[1 : found.index]
    assert (first[found.index], second[found.index]) == (found.first[0], found.second[0])


def commit(number: int, index: int) -> TraceRecord:
    return TraceRecord(number, "commit", 1, {"index": index})


@given(
    st.lists(st.integers(0, 2), max_size=12),
    st.lists(st.integers(0, 2), max_size=12),
    st.integers(0, 4),
)
def test_the_difference_is_the_first_one(one: list[int], other: list[int], context: int) -> None:
    first, second = (
        [commit(number, index) for number, index in enumerate(indexes)] for indexes in (one, other)
    )
    found = diff_traces(first, second, context=context)
    if one == other:
        assert found is None
        return
    assert found is not None
    place = next(
        place
        for place in range(max(len(one), len(other)))
        if one[place : place + 1] != other[place : place + 1]
    )
    assert found.index == place
    assert list(found.before) == first[max(0, place - context) : place]
    assert list(found.first) == first[place : place + max(1, context)]
    assert list(found.second) == second[place : place + max(1, context)]


def test_it_reports_what_each_node_was_in() -> None:
    same = [
        TraceRecord(0, "up", 1, {"term": 1, "commit": 2, "last_index": 2}),
        TraceRecord(5, "role", 1, {"role": "leader", "term": 3, "leader": 1}),
        TraceRecord(6, "commit", 1, {"index": 7}),
        TraceRecord(6, "apply", 1, {"index": 7, "term": 3, "entry": "command"}),
        TraceRecord(7, "up", 2, {"term": 1, "commit": 2, "last_index": 2}),
        TraceRecord(8, "down", 2, {"why": "crash"}),
    ]
    found = diff_traces([*same, commit(9, 8)], same)
    assert found is not None
    assert [str(node) for node in found.nodes] == [
        "node 1: leader in term 3, leader 1, commit index 7, apply index 7",
        "node 2: down",
    ]
    assert (found.t_us, found.second) == (9, ())


def test_nothing_is_read_after_the_difference() -> None:
    def endless(index: int) -> Iterator[TraceRecord]:
        yield from (commit(number, 1 if number < 10_000 else index) for number in range(10**9))

    found = diff_traces(endless(1), endless(2))
    assert found is not None
    assert found.index == 10_000


def test_headers_alone_may_differ() -> None:
    def trace(seed: int) -> list[TraceRecord]:
        fields = {"schema": 1, "name": "x", "seed": seed, "nodes": [1]}
        return [TraceRecord(0, "run", 0, fields), commit(1, 1)]

    found = diff_traces(trace(1), trace(2))
    assert found is not None
    assert (found.first, found.second) == ((), ())


def test_a_damaged_trace_is_named(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "1.jsonl").read_text().splitlines()
    broken = tmp_path / "broken.jsonl"
    broken.write_text("\n".join([*islice(lines, 5), "nonsense"]))
    with pytest.raises(ConfigError, match=r"broken\.jsonl: trace line 6"):
        diff_traces(broken, folder / "1.jsonl")
    with pytest.raises(ConfigError, match="context"):
        diff_traces(broken, broken, context=-1)


def test_the_command_prints_both_continuations(folder: Path) -> None:
    done = run_here("sim", "diff", str(folder / "1.qtrace"), str(folder / "2.qtrace"))
    assert done.code == ExitCode.FAILED
    assert "the headers differ: short with seed 1, short with seed 2" in done.stdout
    assert "the traces part after" in done.stdout
    assert "node 1: follower in term 1" in done.stdout
    same = run_here("sim", "diff", str(folder / "1.qtrace"), str(folder / "1.jsonl"))
    assert (same.code, same.stdout) == (ExitCode.DONE, "the traces have the same records\n")
    body = run_here("sim", "diff", str(folder / "1.qtrace"), str(folder / "2.qtrace"), "-o", "json")
    assert json.loads(body.stdout)["equal"] is False


def test_the_command_takes_artifacts(folder: Path, tmp_path: Path) -> None:
    scenario = parse_scenario(SCENARIO).with_(expect={"new_leader_within_ms": 1})
    result = run_scenario(scenario, 1)
    one, other = (save_artifact(tmp_path / name, scenario, 1, result) for name in "ab")
    same = run_here("sim", "diff", str(one.directory), str(other.directory))
    assert (same.code, same.stdout) == (ExitCode.DONE, "the traces have the same records\n")
    assert one.trace is not None
    one.trace.unlink()
    gone = run_here("sim", "diff", str(one.directory), str(folder / "1.qtrace"))
    assert gone.code == ExitCode.USAGE
    assert "has no trace" in gone.stderr


def test_a_file_that_is_no_trace_is_bad_input(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text("hello\n")
    done = run_here("sim", "diff", str(text), str(folder / "1.qtrace"))
    assert done.code == ExitCode.USAGE
    assert "text.jsonl" in done.stderr
