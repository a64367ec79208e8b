"""Messages and reports that are old, repeated, or about something that no longer exists do no harm."""

from __future__ import annotations

from qcore.core import Entry, Membership, RaftCore
from qcore.core.effects import AppendLog, Send, StoreSnapshot
from qcore.core.events import PeerUnreachable, Propose, SnapshotTaken, Tick, WriteDurable
from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    PreVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from qcore.core.version import ClusterVersion
from tests.core.support.single_core import (
    LATER,
    THREE,
    become,
    entries,
    only,
    receive,
    restored,
    sent_messages,
)
from tests.driver.cores import CoreCluster
from tests.driver.first_state import whole_snapshot


def leading(*, acknowledged: int) -> RaftCore:
    """A leader with entries up to 6, some of them acknowledged by server 2, whose state is `replicate`."""
    core = become(restored((1, 1)), "leader")  # 3 is the no-op
    for command in ("a", "b", "c"):
        core.step(Propose([command], 0), LATER)
    receive(core, 2, AppendEntriesResponse(core.term, True, acknowledged, acknowledged, 0, 0))
    assert core.status().peers[2].state == "replicate"
    return core


def test_late_rejection_of_acknowledged_entries_is_ignored() -> None:
    core = leading(acknowledged=4)
    before = core.status()
    assert receive(core, 2, AppendEntriesResponse(core.term, False, 0, 4, 2, 1)) == []
    assert core.status() == before


def test_rejection_of_anything_but_the_probe_is_ignored() -> None:
    core = leading(acknowledged=2)
    rejection = AppendEntriesResponse(core.term, False, 0, 6, 4, 1)
    (probe,) = sent_messages(receive(core, 2, rejection), AppendEntries)
    before = core.status()
    assert (before.peers[2].state, probe.prev_log_index) == ("probe", before.peers[2].next - 1)
    assert receive(core, 2, rejection) == []
    assert core.status() == before


def test_rejection_does_not_resend_a_snapshot_in_flight() -> None:
    cluster = CoreCluster.of(3)
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(1, "a", "b")
    cluster.settle()
    cluster.take_snapshot(1)
    core, term = cluster.core(1), cluster.core(1).term
    rejection = AppendEntriesResponse(term, False, 0, 4, 2, 2)
    now = cluster.drivers[1].now
    assert len(sent_messages(receive(core, 3, rejection, now), InstallSnapshot)) == 1
    assert receive(core, 3, rejection, now) == []
    assert core.status().peers[3].state == "snapshot"


def test_rejection_never_points_before_committed_entries() -> None:
    core = restored((1, 1, 2, 2), term=5, commit=3)
    effects = receive(core, 2, AppendEntries(5, 2, 9, 1, 0, []))
    (rejection,) = sent_messages(effects, AppendEntriesResponse)
    assert (rejection.hint_index, rejection.hint_term) == (3, 2)


def test_writes_of_a_replaced_log_do_not_make_snapshot_durable() -> None:
    """ABA across a snapshot: entries 2 to 9 are being written when a snapshot through 5 replaces them."""
    core = restored()
    effects = receive(core, 2, AppendEntries(2, 2, 1, 1, 0, entries(2, *[2] * 8)))
    old_write = only(effects, AppendLog).write_id
    effects = receive(core, 3, whole_snapshot(3, 3, 5, 3, THREE, "state"))
    snapshot_write = only(effects, StoreSnapshot).write_id
    core.step(WriteDurable(old_write), LATER)
    assert core.status().durable_index == 0
    heartbeat = AppendEntries(3, 3, 5, 3, 5, [])
    (response,) = sent_messages(receive(core, 3, heartbeat), AppendEntriesResponse)
    assert response.match_index == 0
    core.step(WriteDurable(snapshot_write), LATER)
    assert core.status().durable_index == 5
    (response,) = sent_messages(receive(core, 3, heartbeat), AppendEntriesResponse)
    assert response.match_index == 5


def test_old_or_unapplied_snapshot_is_not_stored() -> None:
    core = restored((1, 1, 1, 1), commit=3)
    assert any(isinstance(e, StoreSnapshot) for e in core.step(SnapshotTaken(2, "s"), LATER))
    for index in (1, 2, 4, 99):
        assert core.step(SnapshotTaken(index, "s"), LATER) == []


def test_snapshot_keeps_newer_configurations_and_rollback() -> None:
    core = restored((1, 1), commit=2)
    four = Membership(voters=(1, 2, 3, 4))
    change = Entry(3, 2, "membership", four.to_json(), 0)
    receive(core, 2, AppendEntries(2, 2, 2, 1, 2, [change]))
    effects = core.step(SnapshotTaken(2, "s"), LATER)
    assert only(effects, StoreSnapshot).snapshot.meta.membership == THREE
    assert core.membership == four
    receive(core, 3, AppendEntries(3, 3, 2, 1, 2, [Entry(3, 3, "noop", "", 0)]))
    assert core.membership == THREE


def test_response_from_before_a_restart_confirms_nothing() -> None:
    """The leader of term 2 restarts and must campaign: an old response belongs to an old term."""
    cluster = CoreCluster.of(3)
    cluster.elect(1)
    term = cluster.core(1).term
    cluster.crash(1)
    cluster.restart(1)
    core = cluster.core(1)
    before = core.status()
    effects = receive(core, 2, AppendEntriesResponse(term, True, 2, 2, 0, 0, 1))
    assert not any(isinstance(effect, Send) for effect in effects)
    assert core.status() == before


def test_unreachable_peer_in_probe_is_not_probed_again() -> None:
    core = leading(acknowledged=4)
    core.step(PeerUnreachable(2), LATER)
    assert len(sent_messages(core.step(Propose(["d"], 0), LATER), AppendEntries)) == 1
    core.step(PeerUnreachable(2), LATER)
    assert sent_messages(core.step(Propose(["e"], 0), LATER), AppendEntries) == []


def test_a_clock_that_goes_back_is_not_followed() -> None:
    """Drivers read a monotonic clock. If it is not monotonic, no lease gets longer and no deadline nearer."""
    core = become(restored(), "leader")
    start = core.next_deadline()
    core.step(Tick(), start)
    after = core.next_deadline()
    assert core.step(Tick(), start - 5_000_000) == []
    assert core.next_deadline() == after
    effects = receive(core, 2, AppendEntriesResponse(core.term, True, 0, 0, 0, 0), 0)
    assert effects != []
    assert core.status().quorum_contact_at == start


def test_pre_votes_after_the_takeover_deadline_do_not_count() -> None:
    """The target's process was paused. The old pre-votes prove nothing about which voters are reachable now."""
    version = Entry(2, 1, "version", ClusterVersion(2, "register", 1).to_json(), 0)
    core = restored((1,), commit=1)
    receive(core, 2, AppendEntries(1, 2, 1, 1, 1, [version]))
    core.step(WriteDurable(core._server.last_write_id), LATER)
    receive(core, 2, TimeoutNow(1, 2, (1, 2, 3)))
    late = LATER + 1_000_000
    receive(core, 2, AppendEntries(1, 2, 2, 1, 1, []), late)
    effects = receive(core, 3, PreVoteResponse(1, 2, True), late)
    effects += receive(core, 2, PreVoteResponse(1, 2, True), late)
    assert (core.role, core.term) == ("follower", 1)
    assert [response.accepted for response in sent_messages(effects, TimeoutNowResponse)] == [False]
