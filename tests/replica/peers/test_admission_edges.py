"""Which peers are refused before anything is remembered, and what happens if that cannot be saved."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from qcore.core.config import RaftConfig
from qcore.core.entry import DurableState, Entry, HardState, Membership
from qcore.core.events import MessageReceived
from qcore.core.messages import AppendEntries
from qcore.core.version import LATEST_RULES, VersionSupport
from qcore.errors import RemoteProtocolError, StorageError
from qcore.machines.register import RegisterMachine
from qcore.replica.config import ReplicaConfig
from qcore.replica.peers.identity import ClusterIdentity, PeerHello
from qcore.replica.peers.known_members import KnownMember, KnownMembers
from qcore.replica.peers.peer_admission import PeerAdmission
from qcore.replica.replica import Replica

TWO = Membership(voters=(1, 2), addresses=((1, "a:1"), (2, "b:1")), cluster_id="red")
OTHER_MACHINE = VersionSupport(1, LATEST_RULES, "other", 1, 1)


class Disk:
    """Where the known members are saved; it may be full."""

    def __init__(self) -> None:
        self.full = False
        self.saved: dict[int, KnownMember] = {}
        self.complaints: list[str] = []

    def save(self, known: Mapping[int, KnownMember]) -> None:
        if self.full:
            raise StorageError("the disk is full")
        self.saved = dict(known)


def node_of_two() -> tuple[Replica, PeerAdmission, Disk]:
    """Node 1 of cluster red, in term 1, and the disk of its known members."""
    durable = DurableState(
        HardState(1, None, 1), None, [Entry(1, 1, "membership", TWO.to_json(), 0)]
    )
    replica = Replica(
        ReplicaConfig(RaftConfig(1)), RegisterMachine(), durable, rng=random.Random(1), now=0
    )
    disk = Disk()
    known = KnownMembers({}, disk.save)
    return (
        replica,
        PeerAdmission(
            replica,
            ClusterIdentity(1, "red"),
            known,
            lambda error: disk.complaints.append(str(error)),
        ),
        disk,
    )


def test_peer_with_another_machine_is_refused_naming_both() -> None:
    """Also before the cluster records its machine."""
    _, admission, disk = node_of_two()
    with pytest.raises(RemoteProtocolError, match="it runs the state machine 'other', node 1 runs"):
        admission.admit(PeerHello(2, "red", "two", 1, OTHER_MACHINE))
    assert disk.saved == {}


def test_version_of_another_clusters_peer_does_not_matter() -> None:
    """It is refused, or outlived, because of its cluster: that is the better reason."""
    _, admission, _ = node_of_two()
    admission.check(PeerHello(2, "blue", "two", 1, OTHER_MACHINE))


def test_member_that_cannot_be_saved_is_reported_and_saved_later() -> None:
    _, admission, disk = node_of_two()
    disk.full = True
    admission.admit(PeerHello(2, "red", "two", 1))
    assert (disk.complaints, disk.saved) == (["the disk is full"], {})
    admission.retry_save()
    assert len(disk.complaints) == 2
    disk.full = False
    admission.retry_save()
    assert disk.saved[2].incarnation == "two"
    assert len(disk.complaints) == 2


def test_unsaved_removal_is_reported_and_saved_later() -> None:
    replica, admission, disk = node_of_two()
    admission.admit(PeerHello(2, "red", "two", 1))
    disk.full = True
    alone = Membership(voters=(1, 3), addresses=((1, "a:1"), (3, "c:1")), cluster_id="red")
    entry = Entry(2, 1, "membership", alone.to_json(), 0)
    replica.step([MessageReceived(2, AppendEntries(1, 2, 1, 1, 2, [entry]))], 1, 1)
    admission.on_committed_membership()
    assert disk.complaints == ["the disk is full"]
    disk.full = False
    admission.retry_save()
    assert 2 not in disk.saved
