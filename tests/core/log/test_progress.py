"""The leader's record of a follower's progress: its state transitions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qcore.core.entry import Membership, Snapshot, SnapshotMeta
from qcore.core.log.progress import OutgoingSnapshot, Progress

BIG = 1 << 30


def replicating(next_index: int = 5) -> Progress:
    progress = Progress(next_index, now=0)
    progress.become_replicate(next_index)
    return progress


def test_a_probe_sends_one_append_and_waits() -> None:
    progress = Progress(5, now=0)
    assert progress.state == "probe"
    assert not progress.paused(16, BIG)
    progress.record_sent(7, 100)
    assert progress.paused(16, BIG)
    assert progress.next == 5  # it may not have arrived
    progress.become_probe(3)
    assert not progress.paused(16, BIG)
    assert progress.next == 3


def test_a_replicating_follower_has_a_window_of_messages() -> None:
    progress = replicating()
    progress.record_sent(5, 10)
    assert not progress.paused(2, BIG)
    progress.record_sent(6, 10)
    assert progress.paused(2, BIG)
    assert progress.next == 7
    assert progress.update_match(5)
    assert not progress.paused(2, BIG)
    assert progress.inflight_bytes == 10


def test_a_replicating_follower_has_a_window_of_bytes() -> None:
    progress = replicating()
    progress.record_sent(5, 99)
    assert not progress.paused(16, 100)
    progress.record_sent(6, 1)
    assert progress.paused(16, 100)
    progress.update_match(6)
    assert progress.inflight_bytes == 0
    assert not progress.paused(16, 100)


def test_one_acknowledgement_frees_all_that_it_covers() -> None:
    progress = replicating()
    for index in range(5, 10):
        progress.record_sent(index, 10)
    assert progress.update_match(8)
    assert list(progress.inflight) == [(9, 10)]


def test_old_acknowledgement_changes_nothing() -> None:
    progress = replicating()
    assert progress.update_match(6)
    assert not progress.update_match(6)
    assert not progress.update_match(4)
    assert progress.match == 6


def test_next_stays_above_match() -> None:
    progress = replicating()
    progress.update_match(9)
    progress.become_probe(2)
    assert progress.next == 10
    progress.become_replicate(1)
    assert progress.next == 10


def transfer_of(index: int) -> OutgoingSnapshot:
    meta = SnapshotMeta(index, 1, 0, Membership(voters=(1,)))
    return OutgoingSnapshot(Snapshot(meta, "state"), 0, 0, 0)


def test_a_snapshot_pauses_all_but_heartbeats() -> None:
    progress = replicating()
    progress.record_sent(5, 10)
    progress.become_snapshot(transfer_of(20))
    assert progress.paused(16, BIG)
    assert progress.snapshot is not None
    assert progress.next == 21
    assert not progress.inflight
    progress.become_replicate(21)
    assert progress.snapshot is None


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("sent"), st.integers(1, 5)),
            st.tuples(st.just("acknowledged"), st.integers(0, 60)),
            st.tuples(st.just("probe"), st.integers(0, 60)),
            st.tuples(st.just("replicate"), st.integers(0, 60)),
            st.tuples(st.just("snapshot"), st.integers(1, 60)),
        ),
        max_size=50,
    )
)
def test_match_stays_below_next_and_the_window_adds_up(done: list[tuple[str, int]]) -> None:
    progress = Progress(1, now=0)
    highest = 0
    for action, number in done:
        match action:
            case "sent" if not progress.paused(4, 200):
                progress.record_sent(progress.next + number - 1, number * 10)
            case "acknowledged":
                progress.update_match(number)
                highest = max(highest, number)
            case "probe":
                progress.become_probe(number)
            case "replicate":
                progress.become_replicate(number)
            case "snapshot" if number > progress.match:
                progress.become_snapshot(transfer_of(number))
            case _:
                pass
        assert progress.match == highest
        assert progress.match < progress.next
        assert progress.inflight_bytes == sum(size for _, size in progress.inflight)
        assert [last for last, _ in progress.inflight] == sorted(
            last for last, _ in progress.inflight
        )
        assert progress.state == "replicate" or not progress.inflight
