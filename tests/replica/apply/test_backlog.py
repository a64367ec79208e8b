"""No step takes long: a long catch-up is applied and restored in bounded parts, and reads wait for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from zlib import crc32

import pytest

from qcore.core.entry import DurableState, HardState, Snapshot, SnapshotMeta
from qcore.core.events import MessageReceived, Tick
from qcore.core.messages import InstallSnapshot
from qcore.core.version import LATEST_RULES
from qcore.errors import StateMachineFailed
from qcore.machines.interface import ApplyContext
from qcore.machines.register import REGISTERS_PER_STEP, RegisterMachine
from qcore.replica.apply.apply_backlog import MAX_STEP_COST, RESTORE_COST
from qcore.replica.events import Applied, ClientRequest, ReplicaEffect, Restored, TriggerSnapshot
from tests.driver.replicas import ReplicaCluster, ReplicaDriver

ENTRIES = 5 * MAX_STEP_COST // 2


def put(key: str, value: object) -> str:
    return json.dumps({"op": "set", "key": key, "value": value})


def get(key: str) -> str:
    return json.dumps({"op": "get", "key": key})


def applied(effects: Iterable[ReplicaEffect]) -> int:
    return sum(isinstance(effect, Applied) for effect in effects)


def finish(driver: ReplicaDriver, limit: int = 1000) -> list[int]:
    """Step until nothing is left to apply; return how many entries each step applied."""
    counts: list[int] = []
    while driver.replica.has_apply_backlog:
        assert driver.replica.next_deadline() <= driver.now, "otherwise no step would follow"
        counts.append(applied(driver.step(Tick())))
        assert len(counts) < limit, "it never ends"
    return counts


class SingleNode(ReplicaCluster):
    """A single elected node."""

    def __init__(self, machine: type[RegisterMachine] = RegisterMachine) -> None:
        super().__init__(1, machine, max_pending_requests=ENTRIES)
        self.driver = self.elect(1)

    def commit_in_one_step(self, payloads: Iterable[str]) -> list[ReplicaEffect]:
        """Commit all payloads in one step, as after a slow write; return the effects of the step."""
        driver = self.driver
        driver.stalled = True
        for number, payload in enumerate(payloads):
            driver.request(number, payload)
        driver.stalled = False
        return driver.persist()


def test_large_commit_is_applied_in_bounded_steps() -> None:
    cluster = SingleNode()
    driver = cluster.driver
    first = applied(cluster.commit_in_one_step(put("k", n) for n in range(ENTRIES)))
    assert first == MAX_STEP_COST
    assert driver.replica.core.commit_index > driver.replica.applied_index
    assert [*finish(driver)] == [MAX_STEP_COST, ENTRIES - 2 * MAX_STEP_COST]
    assert driver.replica.applied_index == driver.replica.core.commit_index
    assert sorted(reply.request_id for reply in driver.replies) == list(range(ENTRIES))
    assert [reply.result for reply in driver.replies] == [
        json.dumps({"ok": True, "value": n}, separators=(",", ":")) for n in range(ENTRIES)
    ]


def test_large_commands_count_for_more() -> None:
    cluster = SingleNode()
    payload = put("k", "x" * 4000)
    first = applied(cluster.commit_in_one_step([payload] * 200))
    counts = [first, *finish(cluster.driver)]
    assert sum(counts) == 200
    assert max(counts) * (1 + len(payload) // 1024) <= MAX_STEP_COST + 4


class CostlyMachine(RegisterMachine):
    """Reports that each command costs as much as a hundred small ones, and each query as much as two hundred."""

    last_cost = 0

    def apply(self, command: str, context: ApplyContext) -> str:
        self.last_cost = 99
        return super().apply(command, context)

    def query(self, query: str) -> str:
        self.last_cost = 199
        return super().query(query)


def test_cost_reported_by_the_machine_counts() -> None:
    cluster = SingleNode(CostlyMachine)
    first = applied(cluster.commit_in_one_step(put("k", n) for n in range(20)))
    assert first == -(-MAX_STEP_COST // 100)
    assert sum(finish(cluster.driver)) == 20 - first


def test_queries_cost_what_the_machine_reports() -> None:
    cluster = SingleNode(CostlyMachine)
    driver = cluster.driver
    driver.step(*(ClientRequest(number, "read", get("k"), 60_000) for number in range(10)))
    answered = [len(driver.replies)]
    while len(driver.replies) < 10:
        driver.step(Tick())
        answered.append(len(driver.replies))
        assert len(answered) < 20
    assert answered == [2, 4, 6, 8, 10]


def test_more_events_in_a_step_apply_no_more_entries() -> None:
    """The bound holds for the step, not for each message: a follower catches up by many appends in one step."""
    cluster = ReplicaCluster(3, max_pending_requests=ENTRIES)
    leader = cluster.elect(1)
    cluster.network.isolated = {3}
    for number in range(ENTRIES):
        leader.request(number, put("k", number))
    cluster.settle()
    cluster.heal()
    follower = cluster.drivers[3]
    for _ in range(200):
        cluster.now += 50_000
        leader.step(Tick())
        mail = [
            MessageReceived(sent.source, sent.message) for sent in cluster.network if sent.to == 3
        ]
        cluster.network.clear()
        counts = [applied(follower.step(*mail)), *finish(follower)]
        assert max(counts) <= MAX_STEP_COST
        for sent in [*cluster.network]:
            if sent.to == 1:
                cluster.deliver_envelope(sent)
        if follower.replica.applied_index == leader.replica.applied_index:
            break
    assert follower.replica.applied_index == leader.replica.applied_index
    assert follower.replica.machine.state_hash() == leader.replica.machine.state_hash()


@pytest.mark.parametrize("kind", ["read", "lease_read", "follower_read"])
def test_a_read_waits_until_what_it_must_see_is_applied(kind: str) -> None:
    cluster = SingleNode()
    driver = cluster.driver
    cluster.commit_in_one_step(put("k", n) for n in range(ENTRIES))
    driver.replies.clear()
    driver.step(ClientRequest(9000, kind, get("k"), 1000))  # type: ignore[arg-type]  # one of the kinds
    assert driver.replica.has_apply_backlog
    assert [reply.request_id for reply in driver.replies if reply.request_id == 9000] == []
    finish(driver)
    (reply,) = [reply for reply in driver.replies if reply.request_id == 9000]
    assert reply.result == f'{{"ok":true,"value":{ENTRIES - 1}}}'
    assert reply.index >= ENTRIES


def test_stale_read_is_rejected_while_entries_wait_to_apply() -> None:
    cluster = SingleNode()
    driver = cluster.driver
    cluster.commit_in_one_step(put("k", n) for n in range(ENTRIES))
    driver.replies.clear()
    driver.step(ClientRequest(9000, "stale_read", get("k"), 1000, max_staleness_ms=60_000))
    (reply,) = [reply for reply in driver.replies if reply.request_id == 9000]
    assert reply.error is not None
    assert reply.error.code == "TooStale"
    finish(driver)
    driver.step(ClientRequest(9001, "stale_read", get("k"), 1000, max_staleness_ms=60_000))
    assert driver.replies[-1].result == f'{{"ok":true,"value":{ENTRIES - 1}}}'


# -- snapshots ---------------------------------------------------------------------------------------

REGISTERS = 10 * REGISTERS_PER_STEP


class CountsRestores(RegisterMachine):
    """Counts the parts of its restore."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = 0

    def restore_gradually(self, chunks: Iterable[str]) -> Iterator[None]:
        for _ in super().restore_gradually(chunks):
            self.parts += 1
            yield


class Plain:
    """A machine without gradual restore."""

    name = "plain"
    versions = (1, 1)

    def __init__(self) -> None:
        self.inner = RegisterMachine()

    def apply(self, command: str, context: ApplyContext) -> str:
        return self.inner.apply(command, context)

    def query(self, query: str) -> str:
        return self.inner.query(query)

    def snapshot(self) -> Iterable[str]:
        return self.inner.snapshot()

    def restore(self, chunks: Iterable[str]) -> None:
        self.inner.restore(chunks)

    def state_hash(self) -> str:
        return self.inner.state_hash()


def behind(
    machine: type[CountsRestores] | type[Plain],
) -> tuple[ReplicaCluster, ReplicaDriver, ReplicaDriver]:
    """A follower that needs a large snapshot and is about to get its last chunk."""
    cluster = ReplicaCluster(3, machine)
    leader = cluster.elect(1)
    cluster.drivers[3].request(1, put("old", 1))
    cluster.settle()
    cluster.network.isolated = {3}
    for driver in (cluster.drivers[1], cluster.drivers[2]):
        # As if it had been replicated: only the size of the state matters.
        inner = getattr(driver.replica.machine, "inner", driver.replica.machine)
        for number in range(REGISTERS):
            inner.apply(put(f"k{number}", number), ApplyContext(1, 1))
    leader.request(2, put("new", 2))
    cluster.settle()
    leader.step(TriggerSnapshot(keep_entries=0))
    cluster.heal()
    follower = cluster.drivers[3]
    while not follower.replica.core.status().snapshot_index:
        if not cluster.network:
            cluster.now += 50_000
            leader.step(Tick())
        cluster.deliver()
    return cluster, leader, follower


def test_a_large_snapshot_is_restored_in_bounded_parts() -> None:
    _, leader, follower = behind(CountsRestores)
    machine = follower.replica.machine
    assert isinstance(machine, CountsRestores)
    a_step = MAX_STEP_COST // RESTORE_COST
    parts = [machine.parts]
    assert 0 < parts[0] <= 2 * a_step  # the last chunk, then the event that it is durable
    while parts[-1] < REGISTERS // REGISTERS_PER_STEP:
        assert follower.replica.has_apply_backlog
        follower.step(Tick())
        parts.append(machine.parts)
        assert parts[-1] - parts[-2] <= a_step
    finish(follower, limit=2)
    assert follower.replica.machine.state_hash() == leader.replica.machine.state_hash()
    assert follower.replica.applied_index == leader.replica.applied_index


def test_while_a_snapshot_is_restored_reads_and_entries_wait() -> None:
    cluster, leader, follower = behind(CountsRestores)
    before = follower.replica.applied_index
    follower.replies.clear()
    follower.step(ClientRequest(9000, "follower_read", get("new"), 5000))
    leader.request(3, put("newer", 3))
    cluster.settle()
    cluster.pass_time(100)
    follower.step(ClientRequest(9001, "stale_read", get("old"), 5000, max_staleness_ms=60_000))
    follower.step(TriggerSnapshot())
    if follower.replica.has_apply_backlog:  # every step restores a part
        assert follower.replica.applied_index == before
        assert [reply.request_id for reply in follower.replies] == [9001]
        assert follower.replies[0].error is not None
    finish(follower)
    cluster.settle()
    (reply,) = [reply for reply in follower.replies if reply.request_id == 9000]
    assert reply.result == '{"ok":true,"value":2}'
    assert follower.replica.machine.query(get("newer")) == '{"ok":true,"value":3}'
    assert follower.replica.machine.state_hash() == leader.replica.machine.state_hash()


def test_no_snapshot_is_taken_while_one_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is that of no index, so the machine must not be asked for it."""
    _, leader, follower = behind(CountsRestores)
    assert follower.replica.restoring

    def snapshot() -> Iterable[str]:
        raise AssertionError("asked while it restores")

    with monkeypatch.context() as restoring:
        restoring.setattr(follower.replica.machine, "snapshot", snapshot)
        follower.step(TriggerSnapshot())
    finish(follower)
    assert follower.replica.machine.state_hash() == leader.replica.machine.state_hash()


def test_a_crash_while_a_snapshot_is_restored_loses_nothing() -> None:
    cluster, leader, follower = behind(CountsRestores)
    follower.step(Tick())
    assert follower.replica.has_apply_backlog
    again = cluster.restart(3)
    assert not again.replica.has_apply_backlog
    assert again.replica.machine.state_hash() == leader.replica.machine.state_hash()
    assert again.replica.applied_index == leader.replica.applied_index


def test_machine_without_gradual_restore_restores_in_one_step() -> None:
    _, leader, follower = behind(Plain)
    finish(follower, limit=3)
    assert follower.replica.machine.state_hash() == leader.replica.machine.state_hash()


def test_driver_learns_of_a_restore_when_it_is_complete() -> None:
    _, _, follower = behind(CountsRestores)
    effects: list[Restored] = []
    while follower.replica.has_apply_backlog:
        assert effects == []
        effects = [effect for effect in follower.step(Tick()) if isinstance(effect, Restored)]
    assert len(effects) == 1


def test_a_snapshots_checksum_is_that_of_its_text() -> None:
    """It is computed while the text is read, and sent to followers without a second pass over the text."""
    _, leader, _ = behind(CountsRestores)
    snapshot = leader.disk.durable.snapshot
    assert snapshot is not None
    assert snapshot.checksum == crc32(str(snapshot.data).encode())


class LargeState(RegisterMachine):
    """A state of many megabytes that costs nothing to create."""

    chunk = "x" * 65_536

    def snapshot(self) -> Iterable[str]:
        for _ in range(200):
            yield self.chunk


def test_large_snapshot_text_is_built_in_separate_steps() -> None:
    cluster = ReplicaCluster(1, LargeState, snapshot_entries=4, rules=LATEST_RULES)
    driver = cluster.elect(1)
    driver.request(1, put("k", 1))
    driver.request(2, put("k", 2))
    steps = 0
    while driver.disk.durable.snapshot is None:
        assert driver.replica.next_deadline() <= cluster.now + 100_000, (
            "otherwise no step would follow"
        )
        cluster.now += 1_000
        steps += 1
        driver.step(Tick())
    assert steps == 200, "one chunk a step, and nothing is joined at the end"
    assert driver.disk.durable.snapshot.data == '{"sessions":0}\n' + 200 * LargeState.chunk
    assert driver.disk.durable.snapshot.checksum == crc32(
        str(driver.disk.durable.snapshot.data).encode()
    )
    again = len(driver.replica.core.log_entries())
    driver.request(3, put("k", 3))
    assert len(driver.replica.core.log_entries()) == again + 1, "it continues"


@pytest.mark.parametrize("text", ["", "[]", "no sessions\n", "[]\nno registers\n"])
def test_snapshot_that_cannot_be_restored_stops_the_node(text: str) -> None:
    """For example a snapshot of another version of the machine, while running or at a start."""
    cluster = ReplicaCluster(3)
    driver = cluster.drivers[1]
    membership = driver.replica.core.membership
    checksum = crc32(text.encode())
    message = InstallSnapshot(5, 2, 50, 4, 0, membership, 0, len(text), checksum, text)
    with pytest.raises(StateMachineFailed, match="restoring a snapshot raised"):
        driver.step(MessageReceived(2, message))
    snapshot = Snapshot(SnapshotMeta(50, 4, 0, membership), text)
    driver.disk.durable = DurableState(HardState(5, None, 50), snapshot, [])
    with pytest.raises(StateMachineFailed, match="restoring a snapshot raised"):
        cluster.restart(1)


class FailsSnapshots(RegisterMachine):
    """Its snapshot fails in the call, or later when it is read."""

    fails_in_call = True

    def snapshot(self) -> Iterator[str]:
        def chunks() -> Iterator[str]:
            yield "a beginning"
            raise RuntimeError("no more")

        if self.fails_in_call:
            raise RuntimeError("not now")
        return chunks()


@pytest.mark.parametrize("fails_in_call", [True, False])
def test_machine_that_cannot_take_a_snapshot_stops_the_node(
    fails_in_call: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FailsSnapshots, "fails_in_call", fails_in_call)
    cluster = ReplicaCluster(1, FailsSnapshots, snapshot_entries=2)

    def write() -> None:
        driver = cluster.elect(1)
        for number in range(5):
            driver.request(number, put("k", number))
            cluster.now += 1_000
            driver.step(Tick())

    with pytest.raises(StateMachineFailed, match="taking a snapshot raised RuntimeError: no"):
        write()
