"""Artifacts and traces are run again, bit for bit, and the replay stops at a time, a record or an event."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

import qcore.core.leadership.election as election
from qcore.core.config import RaftConfig
from qcore.core.entry import DurableState
from qcore.core.raft import RaftCore
from qcore.errors import ConfigError
from qcore.machines.register import RegisterMachine
from qcore.node.observability.tracing import NodeTrace
from qcore.sim import Scenario, load_scenario, replay_run, run_scenario
from qcore.sim.artifacts import save_artifact
from qcore.sim.replay.stored_run import load_stored_run
from qcore.trace import TraceWriter, open_trace
from tests.process.support.commands import run_here
from tests.sim.support.scenario_texts import scenario

#: It leaves times and nodes to the seed.
DRAWN = "[{at_ms: {uniform: [400, 600]}, crash: {random: 1, of: all}, for_ms: 200}]"


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compact trace of a run."""
    path = tmp_path_factory.mktemp("replay") / "run.qtrace"
    run_scenario(scenario(DRAWN, until_ms=1500), 6, trace=path)
    return path


def test_a_trace_holds_its_scenario_beside_its_hash(trace: Path) -> None:
    stored = load_stored_run(trace)
    assert stored.scenario == scenario(DRAWN, until_ms=1500).drawn(6).model_copy(
        update={"source": stored.scenario.source}
    )
    with open_trace(trace) as content:
        assert not isinstance(content, str)
        assert content.compute_sha256() == content.stored_sha256  # type: ignore[union-attr]  # compact
    writer = TraceWriter(keep=True)
    result = run_scenario(scenario(DRAWN, until_ms=1500), 6, trace=writer)
    assert writer.trace().origin is not None
    assert result.trace_sha256 == stored.sha256


def test_a_whole_replay_is_equal(trace: Path) -> None:
    found = replay_run(trace)
    assert found.equal
    assert found.is_whole
    assert found.trace_sha256 == found.stored.sha256
    assert found.state.records == len(found.stored.records)


def test_an_artifact_is_replayed_with_its_cause(tmp_path: Path) -> None:
    run = scenario(DRAWN, "{new_leader_within_ms: 1}", until_ms=1500)
    artifact = save_artifact(tmp_path / "one", run, 6, run_scenario(run, 6))
    for path in (artifact.directory, artifact.directory / "trace.qtrace"):
        found = replay_run(load_stored_run(path))
        assert found.equal
        assert found.stored.cause.startswith("new_leader_within_ms: ")


@pytest.mark.parametrize("left", [None, 0, 300])
def test_without_a_trace_a_replay_says_what_it_compared(tmp_path: Path, left: int | None) -> None:
    run = scenario(DRAWN, "{new_leader_within_ms: 1}", until_ms=900)
    artifact = save_artifact(tmp_path / "one", run, 6, run_scenario(run, 6))
    file = artifact.directory / "trace.qtrace"
    if left is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:left])
    stored = load_stored_run(artifact.directory)
    part = replay_run(stored, at="kind=up node=2")
    assert not part.is_compared
    assert part.verdict.startswith("unknown: no record of the trace is left")
    assert part.to_json()["equal"] is None
    whole = replay_run(stored)
    assert whole.verdict.startswith("yes, by the trace hash alone")
    assert whole.to_json()["equal"] is True


def test_a_truncated_trace_is_compared_up_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, file = scenario(DRAWN, until_ms=900), tmp_path / "run.jsonl"
    run_scenario(run, 6, trace=file)
    content = file.read_bytes()
    file.write_bytes(content[: 2 * len(content) // 3])
    stored = load_stored_run(file, run)
    assert stored.is_cut
    assert 0 < len(stored.records) < content.count(b"\n")
    found = replay_run(stored)
    assert found.equal
    assert f"cut off after record {len(stored.records)}" in found.verdict
    monkeypatch.setattr(election, "on_pre_vote", lambda *_: None)
    assert replay_run(stored).parting is not None


def test_a_replay_stops_at_a_time(trace: Path) -> None:
    stored = load_stored_run(trace)
    found = replay_run(stored, until_ms=700)
    assert (found.state.now_ms, found.is_whole, found.equal) == (700, False, True)
    assert found.state.last[-1].t_us < 700_000
    assert [node.node for node in found.state.nodes] == [1, 2, 3]


def test_a_replay_stops_at_an_event(trace: Path) -> None:
    stored = load_stored_run(trace)
    found = replay_run(stored, until_event=500)
    assert 500 <= found.state.records < 520
    assert found.state.now_ms == stored.records[499].t_us / 1000
    with pytest.raises(ConfigError, match=r"the run has .* records until its end"):
        replay_run(stored, until_event=10**6)


def test_a_replay_stops_at_a_described_record(trace: Path) -> None:
    stored = load_stored_run(trace)
    found = replay_run(stored, at="kind=role role=leader")
    (leader,) = [node for node in found.state.nodes if node.role == "leader"]
    assert leader.leader == leader.node
    assert any(record.kind == "role" for record in found.state.last)
    with pytest.raises(ConfigError, match="no such record; its kinds are"):
        replay_run(stored, at="kind=role node=9")


def test_the_state_has_what_is_in_flight(trace: Path) -> None:
    stored = load_stored_run(trace)
    found = replay_run(stored, until_ms=800)
    sent = {
        record.fields["id"]
        for record in stored.records[: found.state.records]
        if record.kind == "send"
    }
    done = {
        record.fields["id"]
        for record in stored.records[: found.state.records]
        if record.kind in ("recv", "drop")
    }
    assert len(found.state.in_flight) == len(sent - done)


def test_a_changed_core_parts_at_its_first_record(
    trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(election, "count_own_vote", lambda server: None)
    found = replay_run(load_stored_run(trace))
    assert not found.equal
    assert found.parting is not None
    number, stored, replayed = found.parting.number, found.parting.stored, found.parting.replayed
    assert stored == found.stored.records[number - 1]
    assert stored != replayed
    assert "the code of qcore" in found.advice


def test_json_lines_need_the_scenario(tmp_path: Path, trace: Path) -> None:
    lines = tmp_path / "run.jsonl"
    run_scenario(scenario(DRAWN, until_ms=1500), 6, trace=lines)
    with pytest.raises(
        ConfigError, match="does not hold its scenario, 'test': give --scenario FILE"
    ):
        load_stored_run(lines)
    given: Scenario = scenario(DRAWN, until_ms=1500)
    assert replay_run(load_stored_run(lines, given)).equal
    assert not replay_run(load_stored_run(lines, given, seed=7)).equal
    renamed = given.with_(name="lost_votes")
    run_scenario(renamed, 6, trace=lines)
    assert load_stored_run(lines).scenario == load_scenario("lost_votes"), "found by its name"
    assert not replay_run(load_stored_run(lines), until_ms=500).equal, "but it is another one"


def test_what_a_program_gave_cannot_be_replayed(tmp_path: Path) -> None:
    trace = tmp_path / "a.qtrace"
    run = scenario(until_ms=300)
    run_scenario(run, machine=RegisterMachine, requests=lambda _: ("read", "{}"), trace=trace)
    with pytest.raises(ConfigError, match="got its machine from a program"):
        load_stored_run(trace)


def test_the_trace_of_a_real_node_is_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "node.jsonl"
    with path.open("w") as file:
        trace = NodeTrace(file, 3, lambda: 7)
        trace.started(RaftCore(RaftConfig(3), DurableState(), rng=Random(1), now=0).status())
        trace.flush()
    with pytest.raises(ConfigError, match=r"is the trace of a real node.*--record FILE"):
        load_stored_run(path)


@pytest.mark.parametrize("name", ["none.qtrace", "directory", "empty.jsonl"])
def test_what_is_no_run_is_explained(tmp_path: Path, name: str) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "empty.jsonl").touch()
    ended = run_here("sim", "replay", str(tmp_path / name))
    assert ended.code == 2
    assert name in ended.stderr


# -- the command -----------------------------------------------------------------------------------


def test_the_command_shows_the_cluster(trace: Path) -> None:
    ended = run_here("sim", "replay", str(trace), "--at", "kind=role role=leader")
    assert ended.code == 0
    assert "equal      yes, every record until here" in ended.stdout
    assert "LOG END" in ended.stdout
    assert "messages in flight" in ended.stdout
    body = json.loads(run_here("sim", "replay", str(trace), "-o", "json").stdout)
    assert body["equal"] is True
    assert body["trace_sha256"] == body["stored_sha256"]
    assert len(body["state"]["nodes"]) == 3
    rows = run_here("sim", "replay", str(trace), "-o", "csv").stdout.splitlines()
    assert rows[0].startswith("node,process,role")
    assert len(rows) == 4


def test_the_command_fails_if_the_run_differs(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(election, "count_own_vote", lambda server: None)
    ended = run_here("sim", "replay", str(trace))
    assert ended.code == 1
    assert "equal      no: record" in ended.stdout
    assert "the replay differs: the code of qcore" in ended.stderr


def test_the_command_steps_through_a_node(trace: Path, tmp_path: Path) -> None:
    ended = run_here("sim", "replay", str(trace), "--node", "2", "--until-event", "5")
    assert ended.code == 0
    assert "after step 5" in ended.stdout
    assert "events of the step" in ended.stdout
    recorded = run_here("sim", "run", "set_elements", "--record", str(tmp_path))
    assert recorded.code == 0
    table = run_here("sim", "replay", str(tmp_path))
    assert table.code == 0
    assert table.stdout.count("the life ended") == len(list(tmp_path.iterdir()))
    one = run_here("sim", "replay", str(tmp_path), "--node", "1", "--until-ms", "100", "-o", "json")
    assert json.loads(one.stdout)["now_ms"] <= 100


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--until-ms", "1", "--until-event", "1"], "give one of them"),
        (["--life", "1"], "--life and --with-machine are for recordings"),
        (["--node", "2", "--scenario", "chaos"], "--scenario is for a trace, without --node"),
        (["--node", "2", "--until-event", "99999999"], "has no such step"),
        (["--node", "2", "--at", "kind=nothing"], "the kinds in its steps are AppendEntries, "),
        (["--at", "role"], "KEY=VALUE"),
        (["--at", "kind='role"], "KEY=VALUE"),
        (["--node", "2", "--with-machine", "a.py:A"], "a.py"),
    ],
)
def test_wrong_options_are_explained(trace: Path, words: list[str], text: str) -> None:
    ended = run_here("sim", "replay", str(trace), *words)
    assert ended.code == 2
    assert text in ended.stderr


def test_a_gap_in_a_recording_is_a_failure(tmp_path: Path) -> None:
    run_scenario(scenario(until_ms=500), 1, record=tmp_path)
    path = tmp_path / "node-1.qrec"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:10]) + b'["missing",3]\n' + b"".join(lines[13:]))
    ended = run_here("sim", "replay", str(path))
    assert ended.code == 1
    assert "3 lines are missing after step" in ended.stderr
