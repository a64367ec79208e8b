"""The log grows by a bounded amount between two snapshots, for all writes and all sizes of the state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.core.config import RaftConfig
from qcore.core.effects import AppendLog
from qcore.core.entry import ENTRY_OVERHEAD_BYTES, Entry
from qcore.core.events import Tick
from qcore.core.log.growing_text import TextBuilder
from qcore.core.version import FIRST_VERSION
from qcore.machines.interface import ApplyContext
from qcore.machines.register import RegisterMachine
from qcore.replica.access.access_table import AccessTable
from qcore.replica.apply.apply_backlog import MAX_STEP_COST
from qcore.replica.config import ReplicaConfig
from qcore.replica.disk_window import DISK_WINDOW_BYTES, DiskWindow
from qcore.replica.events import ClientRequest
from qcore.replica.requests import writes
from qcore.replica.sessions.session_table import SessionTable
from qcore.replica.snapshot_builder import SnapshotBuilder
from tests.driver.replicas import ReplicaCluster

CHUNK = 1000


class Sized:
    """A machine whose state is a number of chunks of text."""

    name = "sized"
    versions = (1, 1)

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks

    def apply(self, command: str, context: ApplyContext) -> str:
        return ""

    def query(self, query: str) -> str:
        return ""

    def snapshot(self) -> Iterator[str]:
        return iter(["x" * CHUNK] * self.chunks)

    def restore(self, chunks: Iterable[str]) -> None:
        pass

    def state_hash(self) -> str:
        return ""


@settings(max_examples=150)
@given(
    policy=st.integers(1, 200_000),
    sizes=st.lists(st.integers(0, 30_000), min_size=1, max_size=8),
    states=st.lists(st.integers(0, 300), min_size=1, max_size=4),
    letter=st.sampled_from("aé漢🚀"),
)
def test_log_since_the_last_snapshot_is_bounded_without_time(
    policy: int, sizes: list[int], states: list[int], letter: str
) -> None:
    """For all sizes of entries and of the state. Time stands still, so only appends make the snapshot progress."""
    snapshotting = SnapshotBuilder(ReplicaConfig(RaftConfig(1), snapshot_bytes=policy))
    machine, sessions = Sized(0), SessionTable()
    log: list[int] = []  # bytes by entry
    covered = taken_count = 0
    state = most_state = 2
    largest = 0
    for index in range(1, 1500):
        size = sizes[index % len(sizes)]
        entry = Entry(index, 1, "command", letter * (size // len(letter.encode())), 0)
        machine.chunks = states[taken_count % len(states)]
        most_state = max(most_state, state, machine.chunks * CHUNK + 3)
        largest = max(largest, entry.size_bytes())
        log.append(entry.size_bytes())
        snapshotting.appended(entry.size_bytes())
        snapshotting.applied(entry, 0)
        if snapshotting.due(index):
            snapshotting.begin(machine, sessions, AccessTable(), index, 0, FIRST_VERSION, 0)
        if snapshotting.capturing:
            taken = snapshotting.build_step(0)
            if taken is not None:
                assert len(taken.data) == machine.chunks * CHUNK + 3
                covered, state = taken.index, len(taken.data)
                taken_count += 1
        behind = sum(log[covered:])
        assert behind <= max(policy, most_state) + most_state + CHUNK + 3 * largest
        if behind > 2 * policy + 4 * most_state:
            break
    assert taken_count > 0 or sum(log) < max(policy, most_state) + most_state + 3 * largest + CHUNK


def put(key: str, size: int, letter: str = "v") -> str:
    return json.dumps({"op": "set", "key": key, "value": letter * size}, ensure_ascii=False)


def test_snapshot_is_built_as_the_log_grows_not_by_the_clock() -> None:
    """The policy counts bytes: a text of four-byte characters reaches it sooner."""
    first: list[int] = []
    for letter in "v🚀":
        cluster = ReplicaCluster(1, snapshot_bytes=25_000)
        driver = cluster.elect(1)
        for number in range(400):
            driver.request(number, put(f"k{number % 40}", 900, letter))
            bytes_in_log = sum(held.size_bytes() for held in driver.replica.core.log_entries())
            assert bytes_in_log < 25_000 + 4 * 40 * 3_700, (
                "at most the policy and a multiple of the state"
            )
        assert len(driver.disk.snapshots) >= 4
        first.append(driver.disk.snapshots[0].snapshot.meta.last_included_index)
    assert first[1] < first[0] / 2


def test_step_appends_bounded_bytes_and_the_next_continues() -> None:
    count = 300
    cluster = ReplicaCluster(1, max_pending_requests=count)
    cluster.raft = RaftConfig(1, max_uncommitted_bytes=1 << 30)
    cluster.restart(1)
    driver = cluster.elect(1)
    driver.stalled = True
    command = put("k", 4000)
    steps = [driver.step(*(ClientRequest(at, "write", command, 60_000) for at in range(count)))]
    while any(isinstance(effect, AppendLog) for effect in steps[-1]):
        steps.append(driver.step(Tick()))
    appended = [
        effect.entries for effects in steps for effect in effects if isinstance(effect, AppendLog)
    ]
    per_step = writes.MAX_STEP_BYTES // len(command)
    assert [len(entries) for entries in appended] == [per_step, count - per_step]
    driver.stalled = False
    driver.persist()
    while driver.replica.has_apply_backlog:
        driver.step(Tick())
    ids = [reply.request_id for reply in driver.replies if reply.error is None]
    assert ids == list(range(count)), "in their order"


def test_leader_stops_appending_while_the_disk_is_behind() -> None:
    cluster = ReplicaCluster(1, max_pending_requests=5000)
    cluster.raft = RaftConfig(1, max_uncommitted_bytes=1 << 30)
    driver = cluster.restart(1)
    cluster.elect(1)
    driver.stalled = True
    before = driver.replica.core.last_log_index
    for number in range(2000):
        driver.step(ClientRequest(number, "write", put("k", 4000), 60_000))
    written = driver.replica.core.log_entries()[-1].index - before
    bytes_written = written * (len(put("k", 4000)) + ENTRY_OVERHEAD_BYTES)
    assert DISK_WINDOW_BYTES <= bytes_written < DISK_WINDOW_BYTES + 10_000
    assert driver.replica.next_deadline() > cluster.now, "nothing to do until the write is durable"
    driver.stalled = False
    driver.persist()
    while len(driver.replies) < 2000:
        driver.step(Tick())
    assert driver.replica.core.last_log_index == before + 2000


def test_the_window_counts_bytes_that_are_not_durable() -> None:
    window = DiskWindow()
    full: list[bool] = []
    window.appended(3, DISK_WINDOW_BYTES - 1)
    full.append(window.full)
    window.appended(5, 1)
    full.append(window.full)
    window.durable(4)
    full.append(window.full)
    assert full == [False, True, False]


def test_growing_text_equals_its_joined_parts() -> None:
    parts = ["a" * 100_000, "", "é", "漢字" * 30_000, "🚀", "z" * 70_000]
    text = TextBuilder()
    for part in parts:
        text.add(part)
    assert text.length == sum(map(len, parts))
    assert text.build() == "".join(parts)


def test_fast_appending_follower_does_not_fall_behind() -> None:
    """For every message that it appends, it also applies as many entries. Otherwise its backlog would grow."""
    cluster = ReplicaCluster(3, RegisterMachine, max_pending_requests=10_000)
    cluster.raft = RaftConfig(1, max_uncommitted_bytes=1 << 30)
    for node_id in (1, 2, 3):
        cluster.restart(node_id)
    leader = cluster.elect(1)
    follower = cluster.drivers[2]
    behind: list[int] = []
    per_message = 3 * MAX_STEP_COST
    for turn in range(12):
        first = turn * per_message
        leader.step(
            *(ClientRequest(first + at, "write", put("k", 1), 60_000) for at in range(per_message))
        )
        cluster.settle()
        behind.append(follower.replica.core.commit_index - follower.replica.applied_index)
    assert max(behind) <= 3 * per_message
    assert max(behind[6:]) <= max(behind[:6])


def test_request_that_expires_in_the_queue_is_not_appended() -> None:
    cluster = ReplicaCluster(1, max_pending_requests=5000)
    cluster.raft = RaftConfig(1, max_uncommitted_bytes=1 << 30)
    cluster.restart(1)
    driver = cluster.elect(1)
    driver.stalled = True
    count = DISK_WINDOW_BYTES // 4000 + 10
    for number in range(count):
        driver.step(ClientRequest(number, "write", put("k", 4000), 60_000))
    late = driver.replica.core.last_log_index
    driver.step(ClientRequest(count, "write", put("late", 1), 100))
    cluster.now += 200_000
    driver.step(Tick())
    assert [reply.request_id for reply in driver.replies if reply.error is not None] == [count]
    driver.stalled = False
    driver.persist()
    while driver.replica.has_apply_backlog or driver.replica.core.last_log_index == late:
        driver.step(Tick())
    written = [entry.data for entry in driver.replica.core.log_entries() if entry.kind == "command"]
    assert put("late", 1) not in written
    assert "" not in written


def test_snapshot_is_due_after_much_work_on_few_bytes() -> None:
    """A restart applies the entries after the snapshot again."""
    config = ReplicaConfig(RaftConfig(1), snapshot_entries=50_000, snapshot_bytes=1 << 26)
    snapshotting = SnapshotBuilder(config)
    entry = Entry(1, 1, "command", "x", 0)
    for index in range(1, 100):
        snapshotting.applied(entry, 2_000)
        assert not snapshotting.due(index)
    snapshotting.applied(entry, 2_000)
    assert snapshotting.due(100)
    idle = SnapshotBuilder(ReplicaConfig(RaftConfig(1)))
    idle.applied(entry, 10**9)
    assert not idle.due(1), "no policy"
