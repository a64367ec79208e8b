"""The recording of a real node: its file, its limit, and a file that is too slow."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from qcore.core.config import RaftConfig
from qcore.core.entry import DurableState
from qcore.core.events import Tick
from qcore.errors import ConfigError
from qcore.machines.register import RegisterMachine
from qcore.node.node import Node
from qcore.node.observability import node_recording
from qcore.node.observability.line_writer import LineWriter
from qcore.node.observability.logs import NodeLog
from qcore.node.observability.node_recording import (
    NodeRecording,
    name_of_machine,
    start_of_node,
)
from qcore.recording import RecordingEnd, read_lives
from qcore.replica.config import ReplicaConfig
from qcore.replica.replica import Replica
from qcore.sim import Replay
from tests.node.embedded.embedded_nodes import add, config_of
from tests.transport.support.endpoints import async_test

CONFIG = ReplicaConfig(raft=RaftConfig(node_id=1))
LIMIT = 80_000


def record(path: Path, steps: int = 3, limit: int = LIMIT, *, dies: bool = False) -> NodeRecording:
    """Record a node that does nothing."""
    recording = NodeRecording(path, limit, NodeLog(1))
    recorder = recording.begin(start_of_node(CONFIG, "register", DurableState(), 7, 0, 0))
    replica = Replica(CONFIG, RegisterMachine(), DurableState(), rng=Random(7), now=0)
    for number in range(steps):
        recorder.step(replica, [Tick()], number, number)
        recording.flush()
    if not dies:
        recording.end("stopped")
        recording.close()
    return recording


def end_of(path: Path, life: int = 0) -> RecordingEnd:
    *_, end = read_lives(path)[life].steps()
    assert isinstance(end, RecordingEnd)
    return end


def test_a_recording_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a.qrec"
    before = os.umask(0)
    try:
        record(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Replay(path).run() is None


def test_the_next_life_follows_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "a.qrec"
    record(path)
    with path.open("ab") as file:
        file.write(b'{"recording":1,"torn')  # a process that was killed within its first line
    record(path, 5)
    assert [end_of(path, life).steps for life in range(len(read_lives(path)))] == [3, 5]


def test_a_large_recording_moves_to_another_name(tmp_path: Path) -> None:
    path = tmp_path / "a.qrec"
    record(path, 2000)
    assert path.stat().st_size > LIMIT / 2
    record(path, 2)
    assert end_of(path).steps == 2
    assert end_of(tmp_path / "a.qrec.1").steps == 2000


def test_a_recording_ends_at_its_limit_and_the_node_lives(tmp_path: Path) -> None:
    path = tmp_path / "a.qrec"
    record(path, 2000, limit=5000)
    assert end_of(path).kind == "limit"
    assert path.stat().st_size < 10_000


def test_a_slow_file_leaves_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write = threading.Event()
    write = LineWriter._write

    def slow(writer: LineWriter, chunk: bytes) -> OSError | None:
        may_write.wait(10)
        return write(writer, chunk)

    monkeypatch.setattr(LineWriter, "_write", slow)
    monkeypatch.setattr(node_recording, "_MAX_QUEUED_BYTES", 200)
    path = tmp_path / "a.qrec"
    recording = record(path, 100, dies=True)
    assert 0 < recording.lines_dropped() < 100, "what follows a gap is not written at all"
    may_write.set()
    recording.close()
    end = end_of(path)
    assert (end.kind, 0 < end.steps < 20) == ("missing", True)
    replay = Replay(path)
    assert replay.run() is None
    assert replay.step_number == end.steps


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (os.mkfifo, "it is a FIFO; a replay needs a regular file"),
        (lambda path: None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, make: Callable[[Path], object], text: str
) -> None:
    path = tmp_path / ("missing/a" if text == "No such file" else "a")
    make(path)
    with pytest.raises(ConfigError, match=rf"--record .*{text}"):
        NodeRecording(path, LIMIT, NodeLog(1))


def test_a_machine_is_named_so_that_a_replay_finds_it(tmp_path: Path) -> None:
    class Mine(RegisterMachine):
        pass

    assert name_of_machine(RegisterMachine(), "register") == "register"
    assert name_of_machine(Mine(), "some.module:Mine") == "some.module:Mine"
    assert name_of_machine(Mine(), "dir/file.py:Mine") == f"{Path('dir/file.py').resolve()}:Mine"
    assert name_of_machine(Mine(), "entity").startswith(f"{__name__}:")


@async_test
async def test_an_embedded_node_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "a.qrec"
    for _ in range(2):
        async with Node(config_of(1, tmp_path, record=path)) as node:
            if not node.is_leader and node.term == 0:
                await node.client.init()
            await add(node.client, "runs")
    replay = Replay(path)
    assert replay.lives == 2
    assert replay.run_until("kind=role role=leader")
    assert replay.run() is None
    assert replay.state.applied > 3
