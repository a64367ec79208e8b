"""The hash of the log depends on every field of every entry, and on nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.core.entry import Entry
from qcore.core.version import ClusterVersion
from qcore.machines.register import RegisterMachine
from qcore.replica.access.access_table import AccessTable
from qcore.replica.apply.log_hash import BLOCK_ENTRIES, LogHash
from qcore.replica.apply.state_digests import DIGEST_INTERVAL, StateDigests

VERSION = ClusterVersion(5, "register", 1)
texts = st.text(max_size=3) | st.sampled_from(["\0", "\ud800", "a b"])
rows = st.builds(
    Entry,
    st.just(0),
    st.integers(1, 9),
    st.sampled_from(["command", "noop", "access"]),
    texts,
    st.integers(0, 2**70),
    st.integers(0, 2**40),
    user=st.sampled_from(["", "ann", "bob"]),
)


def hash_of(entries: list[Entry]) -> str:
    hashed = LogHash()
    for entry in entries:
        hashed.add(entry)
    return hashed.digest()


@given(st.lists(rows, max_size=4), st.lists(rows, max_size=4), st.integers(0, BLOCK_ENTRIES))
def test_hashes_are_equal_for_equal_entries_only(
    one: list[Entry], other: list[Entry], more: int
) -> None:
    before = [Entry(0, 1, "command", "x", 0)] * more  # so that a block ends anywhere
    assert (hash_of(before + one) == hash_of(before + other)) == (one == other)


@pytest.mark.parametrize("at", [0, 1, BLOCK_ENTRIES - 1, BLOCK_ENTRIES, 99])
def test_a_digest_on_the_way_changes_nothing(at: int) -> None:
    entries = [Entry(place, 1, "command", str(place), place) for place in range(100)]
    hashed = LogHash()
    for place, entry in enumerate(entries):
        if place == at:
            assert hashed.digest() == hash_of(entries[:at])
        hashed.add(entry)
    assert hashed.digest() == hash_of(entries)


def test_a_node_that_begins_late_knows_the_next_interval() -> None:
    whole, late = (StateDigests(RegisterMachine(), AccessTable(), True) for _ in range(2))
    late.on_replaced()
    entries = [Entry(at, 1, "noop", "", at) for at in range(1, 2 * DIGEST_INTERVAL + 11)]
    for entry in entries:
        whole.applied(entry, VERSION)
        if entry.index > 500:
            late.applied(entry, VERSION)
    for digests in (whole, late):
        digests.now(entries[-1].index, VERSION)
    first, *rest = late.all().values()
    assert (first.index, first.log) == (DIGEST_INTERVAL, "")
    assert rest == [*whole.all().values()][1:]
    assert all(digest.log for digest in rest)


def test_the_log_is_hashed_only_where_members_compare() -> None:
    digests = StateDigests(RegisterMachine(), AccessTable(), False)
    for at in range(1, DIGEST_INTERVAL + 1):
        digests.applied(replace(Entry(1, 1, "noop", "", 0), index=at), VERSION)
    assert [digest.log for digest in digests.all().values()] == [""]
