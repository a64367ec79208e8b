"""Snapshot histories agree with a plain model, and a snapshot has the history of its source."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qcore.core.entry import Entry, Membership, Snapshot, SnapshotMeta
from qcore.sim.verdict.snapshot_histories import EntryHistory, SnapshotHistories


def entries(first: int, count: int, term: int) -> list[Entry]:
    return [Entry(first + n, term, "command", f"{term}/{first + n}", 0) for n in range(count)]


def snapshot(index: int, data: str = "state", term: int = 1) -> Snapshot:
    return Snapshot(SnapshotMeta(index, term, 0, Membership(voters=(1,))), data)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4)), max_size=40))
def test_histories_that_share_segments_equal_copies(steps: list[tuple[int, int]]) -> None:
    """Each step continues some earlier history, so that histories branch in every way."""
    known: list[tuple[EntryHistory, list[Entry]]] = [(EntryHistory.unknown(), [])]
    for term, (which, count) in enumerate(steps, 1):
        history, model = known[which % len(known)]
        more = entries(len(model) + 1, count, term)
        known.append((history.extended(more), model + more))
    for history, model in known:
        assert history.through == len(model)
        held = [history.entry_at(index) for index in range(-1, len(model) + 2)]
        assert held == [None, None, *model, None]


def test_an_unknown_history_is_empty_but_can_be_continued() -> None:
    history = EntryHistory.unknown(5).extended(entries(6, 2, 1))
    assert [history.entry_at(index) is not None for index in range(1, 9)] == [False] * 5 + [
        True,
        True,
        False,
    ]


def test_a_snapshot_continues_the_history_of_its_sender() -> None:
    histories = SnapshotHistories()
    one = EntryHistory.unknown().extended(entries(1, 3, 1))
    other = EntryHistory.unknown().extended(entries(1, 3, 2))
    histories.captured(1, snapshot(3), one)
    histories.captured(2, snapshot(3), other)  # the same snapshot, made from different entries
    assert histories.installed(3, snapshot(3), source=2) is other
    assert histories.of(3, snapshot(3)) is other, "a restart keeps the history"
    assert histories.installed(4, snapshot(3), source=3) is other, "sending it on keeps the history"
    assert histories.installed(5, snapshot(3), source=1) is one


def test_a_snapshot_that_no_node_took_has_no_history() -> None:
    histories = SnapshotHistories()
    histories.captured(1, snapshot(3), EntryHistory.unknown().extended(entries(1, 3, 1)))
    for forged in (snapshot(4), snapshot(3, "stat"), snapshot(3, "State"), snapshot(3, term=2)):
        history = histories.installed(2, forged, source=1)
        assert history.through == forged.meta.last_included_index
        assert history.entry_at(1) is None
