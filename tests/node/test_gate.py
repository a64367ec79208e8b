"""Who is told that it was removed, and by whom: only by a leader that is sure of it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from qcore.core.config import RaftConfig
from qcore.core.entry import DurableState, Entry, HardState, Membership
from qcore.core.events import Campaign, WriteDurable
from qcore.core.raft import RaftCore
from qcore.errors import RemoteProtocolError
from qcore.node.acquaintances import Acquaintances
from qcore.node.gate import MembershipGate
from qcore.node.identity import ClusterIdentity
from qcore.node.logs import NodeLog

ALONE = Membership(voters=(1,), addresses=((1, "a:1"),), cluster_id="red")


def make(directory: Path) -> tuple[RaftCore, MembershipGate]:
    """A follower whose configuration names nobody but itself."""
    durable = DurableState(
        hard_state=HardState(term=1, commit=1),
        entries=[Entry(1, 1, "membership", ALONE.to_json(), 0)],
    )
    core = RaftCore(RaftConfig(1), durable, rng=random.Random(1), now=0)
    core.initial_effects()
    identity = ClusterIdentity(1, "red")
    return core, MembershipGate(core, identity, Acquaintances(directory), NodeLog(1))


def test_only_a_leader_that_committed_in_its_term_says_removed(tmp_path: Path) -> None:
    core, gate = make(tmp_path)
    gate.check(2, "red", "two")  # a follower may lag behind: the node may have been added again
    effects = core.step(Campaign(), 1_000_000)
    led_unsure = False
    while core.term_at(core.commit) != core.term:
        led_unsure |= core.role == "leader"
        gate.check(2, "red", "two")
        last_write = max(getattr(effect, "write_id", 0) for effect in effects)
        effects = core.step(WriteDurable(last_write), 1_000_000)
    assert led_unsure, "elected, and not sure before its first entry was committed"
    assert core.term_at(core.commit) == core.term
    with pytest.raises(RemoteProtocolError, match="node 2 was removed from cluster red"):
        gate.check(2, "red", "two")


def test_a_member_of_the_own_cluster_is_remembered_and_a_stranger_is_not(tmp_path: Path) -> None:
    _, gate = make(tmp_path)
    gate.met(2, "", "pristine")
    gate.check(2, "", "another")
    gate.met(2, "red", "two")
    with pytest.raises(RemoteProtocolError, match="wiped"):
        gate.check(2, "", "another")


def test_whom_a_node_has_met_is_known_behind_a_snapshot_too(tmp_path: Path) -> None:
    """A snapshot brings a configuration: it tells by `joined` who is not the member any more that was met."""
    _, gate = make(tmp_path)
    both = Membership(voters=(1, 2), addresses=((1, "a:1"), (2, "b:1")), cluster_id="red")
    gate.met(2, "red", "two")
    gate.follow(both)
    with pytest.raises(RemoteProtocolError):
        gate.check(2, "red", "another")
    gate.follow(both)
    with pytest.raises(RemoteProtocolError):
        gate.check(2, "red", "another")
    gate.follow(replace(both, joined=((2, 30),)))
    gate.check(2, "red", "another")
