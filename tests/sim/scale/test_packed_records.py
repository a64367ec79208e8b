"""Old records are packed without a difference: to plain collections, to the reports of a check, and to whole runs."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.core.effects import AppendLog, StoreSnapshot
from qcore.core.entry import Entry, EntryKind, Membership, Snapshot, SnapshotMeta
from qcore.sim import RunResult, Scenario, World, parse_scenario, run_scenario
from qcore.sim.invariants import Invariants
from qcore.sim.records.applied_entries import AppliedEntries
from qcore.sim.records.digest_table import DigestTable
from qcore.sim.records.entry_archive import BLOCK, EntryArchive
from qcore.sim.records.entry_list import EntryList
from qcore.sim.records.first_entries import FirstEntries
from qcore.sim.records.packed_numbers import PackedNumbers
from qcore.sim.records.packed_rows import pack_integers, pack_rows, unpack_integers, unpack_rows
from qcore.sim.verdict.snapshot_histories import EntryHistory
from tests.sim.invariants.test_invariants import Cluster, entry

INTEGERS = st.integers() | st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=[]))
KINDS: tuple[EntryKind, ...] = ("command", "noop", "session")

#: A node is wiped, one joins late, one lags behind and one restarts, while snapshots compact the logs.
RESTORED = """
    name: restored
    cluster: {nodes: 3, snapshot_entries: 20, keep_entries: 5}
    workload: {clients: 3, rate_per_s: 120}
    timeline:
      - {at_ms: 700, join: 4}
      - {at_ms: 900, change_members: {add: 4}}
      - {at_ms: 1300, wipe: 3, for_ms: 300}
      - {at_ms: 1500, change_members: {remove: 3}}
      - {at_ms: 1800, change_members: {add: 3}}
      - {at_ms: 2000, partition: [[2], [rest]], for_ms: 500}
      - {at_ms: 2600, crash: leader, for_ms: 200}
    until_ms: 3500
    """


@pytest.fixture
def tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly every entry that a snapshot covers is packed."""
    for module in ("records.first_entries", "records.applied_entries", "records.entry_list"):
        monkeypatch.setattr(f"qcore.sim.{module}.BLOCK", 4)
    monkeypatch.setattr("qcore.sim.records.digest_table._BLOCK", 2)


def made(first: int, count: int, term: int = 1) -> list[Entry]:
    return [
        Entry(index, term, KINDS[index % 3], f"{term}/{index}", 1000 * index, 990 * index)
        for index in range(first, first + count)
    ]


@given(st.lists(st.tuples(INTEGERS, TEXTS, INTEGERS | TEXTS), min_size=1))
def test_packed_rows_are_equal(rows: list[tuple[int, str, int | str]]) -> None:
    assert unpack_rows(pack_rows(rows)) == rows


@given(st.lists(INTEGERS))
def test_packed_integers_are_equal(numbers: list[int]) -> None:
    assert unpack_integers(pack_integers(numbers)) == numbers


def test_packed_numbers_are_a_list() -> None:
    packed, plain = PackedNumbers(), []
    for number in range(5000):
        packed.append(number * number - 7)
        plain.append(number * number - 7)
    assert list(packed) == plain
    assert len(packed) == len(plain)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 3000)), max_size=6))
def test_a_packed_entry_list_is_a_list(steps: list[tuple[int, int]]) -> None:
    archive, found, plain = EntryArchive(), EntryList(), list[Entry]()
    for count, through in steps:
        more = made(len(plain) + 1, count)
        found.extend(more)
        plain.extend(more)
        found.pack(through, archive)
        assert len(found) == len(plain)
        middle = len(plain) // 2
        assert found.between(middle, len(plain)) == plain[middle:]
    assert list(found) == plain


@settings(max_examples=8)
@given(
    st.integers(0, 1100), st.lists(st.tuples(st.integers(1, 1100), st.integers(1, 3)), max_size=12)
)
def test_entries_set_after_packing_are_kept(through: int, later: list[tuple[int, int]]) -> None:
    archive, first, applied = EntryArchive(), FirstEntries(), AppliedEntries()
    plain: dict[int, tuple[Entry, int | None, int]] = {}
    for one in made(1, 1050):
        previous = None if one.index % 5 else one.index
        first.set(one.index, one, 7, previous)
        applied.add(one)
        plain[one.index] = one, previous, 7
    for index, term in [(0, 0), *later]:
        first.pack(through, archive)
        applied.pack(through, archive)
        if index:
            (other,) = made(index, 1, term)
            first.set(index, other, 8, 3)
            applied.add(other)
            plain[index] = other, 3, 8
    first.pack(through, archive)
    applied.pack(through, archive)
    assert [first.get(index) for index in range(-1, 1102)] == list(map(plain.get, range(-1, 1102)))
    assert [first.entry(index) for index in plain] == [found for found, _, _ in plain.values()]
    assert dict(applied) == {index: found for index, (found, _, _) in plain.items()}
    assert len(applied) == len(plain)


def test_a_packed_history_answers_like_before() -> None:
    archive, entries = EntryArchive(), made(1, 3 * BLOCK)
    trunk = EntryHistory.unknown().extended(entries[: 2 * BLOCK])
    other = made(2 * BLOCK + 1, 9, term=2)
    longer, branch = trunk.extended(entries[2 * BLOCK :]), trunk.extended(other)
    longer.pack(longer.through, archive)
    branch.pack(branch.through, archive)
    assert longer.after(0) == entries
    assert branch.after(BLOCK - 1) == [*entries[BLOCK - 1 : 2 * BLOCK], *other]
    assert [branch.entry_at(one.index) for one in other] == other
    assert branch.entry_at(branch.through + 1) is None


def test_a_packed_digest_is_compared() -> None:
    table = DigestTable()
    digests = {index: f"{index * 7919:064x}" for index in range(1, 1300)}
    for index, digest in digests.items():
        assert table.first(index, digest, index % 3) == (digest, index % 3)
    table.pack(1200)
    for index, digest in digests.items():
        assert table.first(index, "other", 9) == (digest, index % 3)
    assert table.first(5000, "new", 9) == ("new", 9)


def test_equal_entries_are_packed_once() -> None:
    archive = EntryArchive()
    lists = [EntryList() for _ in range(4)]
    for found in lists:
        found.extend(made(1, 5 * BLOCK))
        found.pack(5 * BLOCK, archive)
    assert archive.packs == 5


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.usefixtures("tiny_blocks")
def test_a_fault_in_an_old_entry_has_the_same_note(packs: bool) -> None:
    cluster = Cluster(1, 2, 3)
    entries = [entry(index, 1) for index in range(1, 31)]
    for node in (1, 2):
        cluster.append(node, *entries)
        cluster.commit(node, 30)
        cluster.apply(node, *entries)
        for index in range(1, 31):
            cluster.invariants.on_state_hash(node, index, f"{index:064x}")
        if packs:
            state = Snapshot(SnapshotMeta(28, 1, 28_000, Membership(voters=(1, 2, 3))), "state")
            cluster.feed(node, StoreSnapshot(cluster.next_write(), state, 25, reset_log=False))
    assert (cluster.invariants.archive.packs > 0) == packs
    assert not cluster.reports
    forged = replace(entries[9], data="other")
    cluster.append(3, *entries[:9], forged)
    cluster.commit(3, 10)
    cluster.apply(3, *entries[:9], forged)
    cluster.invariants.on_state_hash(3, 10, "f" * 64)
    cluster.role(3, "leader", 2)
    this, that = "(index 10, term 1, command 'other', 10000 us)", "'10@1', 10000 us)"
    notes = [note for _, _, note in cluster.reports]
    assert notes[:2] == [
        f"node 3 holds {this}, node 1 (index 10, term 1, command {that}",
        f"node 3 applies {this}, node 1 applied (index 10, term 1, command {that}",
    ]
    assert cluster.checks == [
        "log_matching",
        "state_machine_safety",
        "state_hash",
        "leader_completeness",
    ]
    assert "without the committed (index 11, term 1, command '11@1', 11000 us)" in notes[3]


def living_entries() -> int:
    gc.collect()
    return sum(type(one) is Entry for one in gc.get_objects())


def compared(scenario: Scenario, seed: int) -> tuple[object, ...]:
    result: RunResult = run_scenario(scenario, seed)
    return result.trace_sha256, result.violations, result.expectations, result.metrics


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_nodes_that_restore_are_judged_alike(seed: int, request: pytest.FixtureRequest) -> None:
    scenario = parse_scenario(RESTORED)
    before = compared(scenario, seed)
    assert not before[1]
    request.getfixturevalue("tiny_blocks")
    assert compared(scenario, seed) == before
    world = World(scenario, seed)
    world.run()
    assert sum(node.snapshots_installed for node in world.nodes.values()) >= 2
    assert world.services.invariants.archive.packs > 10
    world.close()


@pytest.mark.parametrize("nodes", [3, pytest.param(5, marks=pytest.mark.long)])
def test_a_run_holds_no_more_entries_after_more_writes(nodes: int) -> None:
    """Without packing, the histories and invariants hold every entry that was ever applied."""
    world = World(
        parse_scenario(
            f"""
            cluster: {{nodes: {nodes}, snapshot_entries: 300, keep_entries: 50}}
            workload: {{clients: 2, rate_per_s: 600, read_fraction: 0, cas_fraction: 0}}
            until_ms: 12000
            """
        )
    )
    before, held = living_entries(), list[int]()
    for writes in (1500, 4500):
        while world.services.monitor.highest_commit < writes:
            assert world.engine.now < 11_900_000, "the clients write enough before the end"
            world.run_until(world.engine.now // 1000 + 100)
        held.append(living_entries() - before)
    world.close()
    assert max(held) < 5 * BLOCK, "three unpacked blocks, one that is not full, and the logs"


def test_invariants_pack_only_what_is_compacted() -> None:
    invariants = Invariants(lambda *_: None)
    entries = made(1, 2 * BLOCK)
    invariants.on_effect(1, AppendLog(1, entries), now=0)
    packs_before = invariants.archive.packs
    state = Snapshot(SnapshotMeta(2 * BLOCK, 1, 0, Membership(voters=(1,))), "state")
    invariants.on_effect(1, StoreSnapshot(2, state, 2 * BLOCK - 1, reset_log=False), now=0)
    assert (packs_before, invariants.archive.packs) == (0, 1)
