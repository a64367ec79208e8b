"""Which peers a node accepts or rejects: removed, wiped, outdated and unknown ones."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from qcore.core.config import RaftConfig
from qcore.core.entry import DurableState, Entry, HardState, Membership
from qcore.core.events import Campaign, MessageReceived, WriteDurable
from qcore.core.messages import AppendEntries
from qcore.core.raft import RaftCore
from qcore.core.version import ClusterVersion, VersionSupport
from qcore.errors import RemoteProtocolError
from qcore.machines.register import RegisterMachine
from qcore.node.application import TextApplication
from qcore.node.config import NodeConfig
from qcore.node.observability.logs import NodeLog
from qcore.node.peers.known_members_file import load_known_members
from qcore.node.replica_node import ReplicaNode
from qcore.replica.config import ReplicaConfig
from qcore.replica.peers.identity import ClusterIdentity, PeerHello
from qcore.replica.peers.peer_admission import PeerAdmission
from qcore.replica.replica import Replica
from qcore.storage.memory import MemoryStorage
from qcore.transport.address import Address

ALONE = Membership(voters=(1,), addresses=((1, "a:1"),), cluster_id="red")


def make(directory: Path) -> tuple[RaftCore, PeerAdmission]:
    """A follower whose configuration names only itself."""
    durable = DurableState(
        hard_state=HardState(term=1, commit=1),
        entries=[Entry(1, 1, "membership", ALONE.to_json(), 0)],
    )
    config = ReplicaConfig(RaftConfig(1))
    replica = Replica(config, RegisterMachine(), durable, rng=random.Random(1), now=0)
    known = load_known_members(directory)
    admission = PeerAdmission(replica, ClusterIdentity(1, "red"), known, lambda _error: None)
    return replica.core, admission


def pristine(directory: Path) -> tuple[ClusterIdentity, PeerAdmission]:
    """A node that belongs to no cluster yet."""
    config = ReplicaConfig(RaftConfig(1))
    replica = Replica(config, RegisterMachine(), DurableState(), rng=random.Random(1), now=0)
    identity = ClusterIdentity(1, None)
    return identity, PeerAdmission(
        replica, identity, load_known_members(directory), lambda _error: None
    )


def test_only_a_leader_that_committed_in_its_term_names_removed(tmp_path: Path) -> None:
    core, admission = make(tmp_path)
    admission.check(
        PeerHello(2, "red", "two")
    )  # a follower may lag behind: node 2 may be a member again
    effects = core.step(Campaign(), 1_000_000)
    led_unsure = False
    while core.term_at(core.commit_index) != core.term:
        led_unsure |= core.role == "leader"
        admission.check(PeerHello(2, "red", "two"))
        last_write = max(getattr(effect, "write_id", 0) for effect in effects)
        effects = core.step(WriteDurable(last_write), 1_000_000)
    assert led_unsure, "elected, but without a committed entry in its term"
    assert core.term_at(core.commit_index) == core.term
    for node in (2, 77):  # it cannot know which one was a member
        text = (
            rf"node {node} is no member of cluster red\. If it was removed from cluster red, stop"
        )
        with pytest.raises(RemoteProtocolError, match=text):
            admission.check(PeerHello(node, "red", "two"))


def test_only_members_of_the_same_cluster_are_remembered(tmp_path: Path) -> None:
    _, admission = make(tmp_path)
    admission.admit_dialled(PeerHello(2, "", "pristine"))
    admission.check(PeerHello(2, "", "another"))
    admission.admit_dialled(PeerHello(2, "red", "two"))
    with pytest.raises(RemoteProtocolError, match="wiped"):
        admission.check(PeerHello(2, "", "another"))


def test_a_connected_member_met_before_joining_is_remembered(
    tmp_path: Path,
) -> None:
    """Nodes that form a cluster send `Hello` before it exists, and perhaps never again."""
    identity, admission = pristine(tmp_path)
    for peer in (2, 3):
        admission.admit(PeerHello(peer, "red", "first"))
    admission.on_closed(3)
    admission.on_committed_membership()
    identity.join("red")
    admission.on_committed_membership()
    with pytest.raises(RemoteProtocolError, match="node 2 was wiped"):
        admission.check(PeerHello(2, "red", "second"))
    admission.check(PeerHello(3, "red", "second"))


def test_closing_an_old_connection_keeps_its_member_known(
    tmp_path: Path,
) -> None:
    """A member may stay connected from before the cluster began until its data is wiped, and send `Hello` only then."""
    identity, admission = pristine(tmp_path)
    for peer in (2, 3, 4):
        admission.admit(PeerHello(peer, "red", "first"))
    admission.admit(
        PeerHello(2, "red", "first")
    )  # it reconnects before the close of the old connection is noticed
    admission.on_closed(2)
    admission.admit_dialled(PeerHello(3, "red", "first"))
    admission.on_closed(3)
    admission.admit_dialled(PeerHello(4, "red", "first"))
    admission.on_closed(4)
    admission.on_closed(4, dialled=True)
    identity.join("red")
    admission.on_committed_membership()
    for peer in (2, 3):
        with pytest.raises(RemoteProtocolError, match=f"node {peer} was wiped"):
            admission.check(PeerHello(peer, "red", "second"))
    admission.check(PeerHello(4, "red", "second"))


def test_an_outdated_peer_is_rejected_before_the_first_entries(
    tmp_path: Path,
) -> None:
    """If it were connected, it would receive the first entries and stop."""
    identity, admission = pristine(tmp_path)
    old = PeerHello(2, "", "two", support=VersionSupport(1, 1))
    admission.admit_dialled(old)
    identity.begin_init("red")
    with pytest.raises(RemoteProtocolError, match="this program supports version 1"):
        admission.admit_dialled(old)


def test_an_uncommitted_removal_does_not_forget_a_member(tmp_path: Path) -> None:
    """Otherwise a member that was wiped meanwhile would be accepted if the removal is not committed after all."""

    async def scenario() -> None:
        config = NodeConfig.of(1, tmp_path, ws_addr=Address("127.0.0.1", 0))
        application = TextApplication(RegisterMachine())
        node = ReplicaNode(config, application, MemoryStorage(1), NodeLog(1))
        await node.start()
        addresses = ((1, "127.0.0.1:1"), (2, "127.0.0.1:2"), (3, "127.0.0.1:3"))
        three = Membership(voters=(1, 2, 3), addresses=addresses, cluster_id="red")
        two = replace(three, voters=(1, 2), addresses=addresses[:2])

        async def append(index: int, commit: int, *held: Membership) -> None:
            entries = [
                Entry(index + 1 + n, 1, "membership", m.to_json(), 0) for n, m in enumerate(held)
            ]
            message = AppendEntries(1, 2, index, min(index, 1), commit, entries)
            assert node._driver.inbox.offer_message(MessageReceived(2, message))
            async with asyncio.timeout(20):
                core = node._replica.core
                while core.commit_index < commit or core.last_log_index < index + len(held):  # noqa: ASYNC110 - the node steps meanwhile
                    await asyncio.sleep(0)

        await append(0, 1, three)
        node._admission.admit_dialled(PeerHello(3, "red", "first"))
        await append(1, 1, two)
        assert node._replica.core.membership == two
        with pytest.raises(RemoteProtocolError, match="wiped"):
            node._admission.check(PeerHello(3, "red", "second"))
        await append(2, 2)
        node._admission.check(PeerHello(3, "red", "second"))
        await node.stop()

    asyncio.run(scenario())


def test_a_member_stays_known_unless_it_joined_again(tmp_path: Path) -> None:
    """The configuration in a snapshot shows with `joined` that a node is a new member."""
    _, admission = make(tmp_path)
    both = Membership(voters=(1, 2), addresses=((1, "a:1"), (2, "b:1")), cluster_id="red")
    admission.admit_dialled(PeerHello(2, "red", "two"))
    admission._known.retain(both)
    with pytest.raises(RemoteProtocolError):
        admission.check(PeerHello(2, "red", "another"))
    admission._known.retain(both)
    with pytest.raises(RemoteProtocolError):
        admission.check(PeerHello(2, "red", "another"))
    admission._known.retain(replace(both, joined=((2, 30),)))
    admission.check(PeerHello(2, "red", "another"))


def test_an_unapplied_upgrade_keeps_an_older_program_out(tmp_path: Path) -> None:
    """It would receive that entry, write it, and stop when it applies it."""
    core, admission = make(tmp_path)
    old = PeerHello(2, "red", "two", support=VersionSupport())
    admission.check(old)
    raising = Entry(2, 2, "version", ClusterVersion(2, "register", 1).to_json(), 5)
    core.step(
        MessageReceived(2, AppendEntries(2, 2, 1, 1, 1, [raising])),
        1_000_000,
    )
    assert core.commit_index == 1
    with pytest.raises(RemoteProtocolError, match="apply rules are version 2, this program"):
        admission.check(old)
    core.step(
        MessageReceived(3, AppendEntries(3, 3, 1, 1, 1, [Entry(2, 3, "noop", "", 6)])),
        2_000_000,
    )
    admission.check(old)
