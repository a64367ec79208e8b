"""The nodes of a simulated run are recorded, and replayed to the same effects."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qcore.core.effects import RoleChanged
from qcore.errors import ConfigError
from qcore.machines.interface import ApplyContext
from qcore.machines.register import RegisterMachine
from qcore.recording import read_lives
from qcore.sim import Replay, Scenario, TraceWriter, World, load_scenario, run_scenario
from qcore.sim.replay.life_replay import LifeReplay
from qcore.sim.scenario.catalogue import scenario_files
from qcore.sim.workload.custom_machine import CustomMachine
from tests.checkout import EXAMPLES
from tests.sim.support.scenario_texts import scenario

#: Together: kills, a wiped disk, snapshots that leaders send, watches, another machine.
VARIED = ("wiped_member", "watch_snapshot", "set_elements")


def differences(run: Scenario, seed: int) -> tuple[int, list[str]]:
    """How many steps a replay of all lives has, and what differs in it."""
    world = World(run, seed)
    contents: dict[int, bytearray] = {}
    world.record(lambda node: contents.setdefault(node, bytearray()).extend)
    world.run()
    world.close()
    steps, found = 0, []
    for content in contents.values():
        for life in read_lives(bytes(content)):
            replay = LifeReplay(life)
            while replay.advance() and not replay.error:
                steps += 1
            if replay.difference is not None:
                found.append(f"node {life.start.node_id}: {replay.difference}")
    return steps, found


@pytest.mark.parametrize("name", VARIED)
def test_a_run_replays_node_by_node(name: str) -> None:
    steps, found = differences(load_scenario(name), 1)
    assert steps > 300
    assert not found


@pytest.mark.long
@pytest.mark.parametrize("path", scenario_files(None), ids=lambda path: path.stem)
def test_every_shipped_scenario_replays(path: Path) -> None:
    for seed in (1, 2):
        _, found = differences(load_scenario(path), seed)
        assert not found


def test_a_recording_does_not_change_the_run(tmp_path: Path) -> None:
    run = scenario(until_ms=1500)
    plain = run_scenario(run, 3)
    assert run_scenario(run, 3, record=tmp_path / "new" / "deep").trace_sha256 == plain.trace_sha256
    assert sorted(path.name for path in (tmp_path / "new" / "deep").iterdir()) == [
        f"node-{node}.qrec" for node in run.cluster.nodes
    ]


def recorded_counter(directory: Path) -> Path:
    """The recording of a node whose machine is a user's file, of which the directory has a copy."""
    for name in ("counter_partition.yaml", "counter_machine.py"):
        shutil.copy(EXAMPLES / name, directory)
    run_scenario(directory / "counter_partition.yaml", 2, record=directory)
    return directory / "node-1.qrec"


def test_a_changed_machine_is_noticed(tmp_path: Path) -> None:
    path = recorded_counter(tmp_path)
    assert Replay(path).run() is None
    machine = tmp_path / "counter_machine.py"
    text = machine.read_text()
    changed = text.replace(", 0) + by", ", 0) + by + 1")
    assert changed != text
    machine.write_text(changed)
    found = [Replay(each).run() for each in sorted(tmp_path.glob("*.qrec"))]
    assert all(difference is not None for difference in found)
    texts = [str(difference) for difference in found]
    assert any("recorded SaveCommit, Applied" in text for text in texts), (
        "a leader replies with the result"
    )
    assert any("recorded state hash" in text for text in texts), (
        "a follower shows it in its state only"
    )


def test_a_machine_of_a_program_must_be_given(tmp_path: Path) -> None:
    world = World(
        scenario(until_ms=600),
        1,
        custom_machine=CustomMachine(RegisterMachine, lambda _: ("read", "{}")),
    )
    content = bytearray()
    world.record(lambda node: content.extend if node == 2 else None)
    world.run()
    world.close()
    path = tmp_path / "node.qrec"
    path.write_bytes(bytes(content))
    with pytest.raises(ConfigError, match="got its state machine from a program"):
        Replay(path)
    assert Replay(path, machine=RegisterMachine).run() is None


def test_a_replay_of_an_artifact_records_one_node(tmp_path: Path) -> None:
    trace = tmp_path / "a.qtrace"
    run_scenario(scenario(until_ms=1200), 4, trace=trace)
    assert Replay(trace).node_id == 1
    replay = Replay(trace, node=3)
    assert replay.node_id == 3
    assert replay.run() is None
    with pytest.raises(ConfigError, match="node 9 is not in the run"):
        Replay(trace, node=9)


def test_steps_times_and_queries_lead_to_the_same_place(tmp_path: Path) -> None:
    trace = TraceWriter(keep=True)
    run_scenario(scenario(until_ms=1500), 4, trace=trace, record=tmp_path)
    role = next(
        record for record in trace.trace().records({"role"}) if record.fields["role"] == "leader"
    )
    path = tmp_path / f"node-{role.node}.qrec"
    replay = Replay(path)
    assert (replay.step_number, replay.event, replay.now_ms) == (0, None, 0)
    assert replay.run_until("kind=role role=leader")
    assert replay.now_ms == role.t_us / 1000
    assert (replay.state.role, replay.state.term) == ("leader", role.fields["term"])
    assert replay.replica.core.role == "leader"
    assert any(isinstance(effect, RoleChanged) for effect in replay.effects)
    by_time = Replay(path)
    assert by_time.run_until(role.t_us / 1000)
    assert by_time.step_number >= replay.step_number
    by_event = Replay(path)
    assert by_event.run_until(lambda now: now.step_number == replay.step_number)
    assert by_event.events == replay.events
    assert by_event.state == replay.state
    assert not replay.run_until("kind=TransferLeader")
    assert not replay.step()
    assert replay.end is not None
    assert replay.end.kind == "end"
    assert not replay.run_until(1e9)


@pytest.mark.parametrize("goal", [float("nan"), True, None, "role", "node=2"])
def test_a_goal_that_is_none_is_explained(tmp_path: Path, goal: object) -> None:
    run_scenario(scenario(until_ms=300), 4, record=tmp_path)
    with pytest.raises(ConfigError, match=r"is no time|KEY=VALUE|names no kind"):
        Replay(tmp_path / "node-1.qrec").run_until(goal)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("fidelity", ["replica", "node"])
def test_each_life_of_a_node_can_be_replayed(tmp_path: Path, fidelity: str) -> None:
    run = scenario("[{at_ms: 500, crash: 2, for_ms: 100}]", until_ms=1200).with_(fidelity=fidelity)
    assert run_scenario(run, 1, record=tmp_path).trace_sha256 == run_scenario(run, 1).trace_sha256
    path = tmp_path / "node-2.qrec"
    whole = Replay(path)
    assert whole.lives == 2
    assert whole.run() is None
    assert whole.life == 2
    second = Replay(path, life=2)
    assert second.start.durable.entries, "the log of the first life"
    assert second.run() is None
    with pytest.raises(ConfigError, match="no life 3"):
        Replay(path, life=3)
    with pytest.raises(ConfigError, match="a recording of node 2, not of node 1"):
        Replay(path, node=1)


def test_a_recording_begins_before_the_run() -> None:
    world = World(scenario(), 1)
    world.step()
    with pytest.raises(ConfigError, match="the run has begun"):
        world.record(lambda _: None)
    world.close()


def test_recordings_that_cannot_be_written_are_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write the recordings in"):
        run_scenario(scenario(until_ms=300), 1, record=tmp_path / "file")
    (tmp_path / "node-1.qrec").mkdir()
    with pytest.raises(ConfigError, match="cannot write the recordings in"):
        run_scenario(scenario(until_ms=300), 1, record=tmp_path)


class RaisingMachine(RegisterMachine):
    """Breaks its contract at the tenth entry."""

    def apply(self, command: str, context: ApplyContext) -> str:
        if context.index >= 10:
            raise KeyError("seat")
        return super().apply(command, context)


def test_the_error_of_a_machine_is_replayed() -> None:
    write = '{"op": "set", "key": "a", "value": 1}'
    machine = CustomMachine(RaisingMachine, lambda _: ("write", write))
    world = World(scenario(until_ms=1500), 1, custom_machine=machine)
    content = bytearray()
    world.record(lambda node: content.extend if node == 1 else None)
    world.run()
    world.close()
    (life,) = read_lives(bytes(content))
    replay = LifeReplay(life, RaisingMachine)
    while replay.advance():
        pass
    assert replay.step is not None
    assert "StateMachineFailed" in replay.step.failed
    assert replay.error == replay.step.failed
    assert replay.difference is None
    other = LifeReplay(life, RegisterMachine)
    while other.advance() and other.difference is None:
        pass
    assert other.difference is not None
    assert other.difference.recorded == replay.step.failed
