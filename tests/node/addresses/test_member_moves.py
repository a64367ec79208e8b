"""The leader's side of a move: the member must prove its key at the new address before the configuration changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from qcore.core.entry import Membership
from qcore.core.raft import RaftCore
from qcore.errors import ChangeRefused, ConfigError, NotLeader, QcoreError
from qcore.node.observability.logs import NodeLog
from qcore.node.peers.founder_keys import Answer
from qcore.node.peers.member_moves import MemberMoves
from qcore.node.runtime.submit_event import MakeEvent
from qcore.node.watches.address_watch import AddressWatch
from qcore.replica.events import ChangeMembers, Reply
from qcore.runtime.interface import Runtime
from qcore.security.keys.node_key import NodeKey
from qcore.transport.wire import Hello, HelloReply

KEYS = {node: NodeKey(bytes([node]) * 32).public for node in range(1, 5)}
MEMBERS = Membership(
    (1, 2, 3),
    addresses=((1, "a:1"), (2, "b:1"), (3, "c:1")),
    cluster_id="red",
    keys=tuple((node, KEYS[node]) for node in (1, 2, 3)),
)


class World:
    """Node 1, which leads, and what answers at the addresses that it asks.

    Attributes:
        at: the node at each address: its id, cluster and key.
        announced: by member, the address that it announces.
        asked: the addresses that were asked.
        changes: the proposed changes; each has the outcome `error`.
    """

    def __init__(self, own: str = "") -> None:
        self.at: dict[str, tuple[int, str, str]] = {}
        self.announced: dict[int, str] = {}
        self.asked: list[Mapping[int, str]] = []
        self.changes: list[ChangeMembers] = []
        self.error: QcoreError | None = None
        self.seconds = 0.0
        self.core = SimpleNamespace(
            node_id=1,
            role="leader",
            membership=MEMBERS,
            membership_index=3,
            commit_index=4,
            has_committed_in_term=True,
        )
        core = cast(RaftCore, self.core)
        self.moves = MemberMoves(core, self)
        runtime = cast(Runtime, SimpleNamespace(seconds=lambda: self.seconds))
        self.watch = AddressWatch(
            core, own, self.announced_by, self.moves, self.submit, NodeLog(1), runtime
        )

    def announced_by(self, peer: int) -> str | None:
        return self.announced.get(peer)

    async def ask_nodes(
        self,
        nodes: Mapping[int, str],
        timeout_s: float,
        cluster_id: str = "",
        *,
        need_keys: bool = True,
    ) -> tuple[Mapping[int, Answer], Mapping[int, str]]:
        self.asked.append(nodes)
        await asyncio.sleep(0)
        answers: dict[int, Answer] = {}
        problems: dict[int, str] = {}
        for node, address in nodes.items():
            there, cluster, key = self.at.get(address, (node, "", ""))
            if address not in self.at:
                problems[node] = f"cannot connect to {address}"
            elif there != node:  # as a connection reports it
                problems[node] = f"{address} is node {there}, not node {node}"
            elif need_keys and not key:
                problems[node] = f"node {node} has no public key"
            else:
                hello = Hello("h", 1, cluster_id, 1, "asking")
                answers[node] = Answer(hello, HelloReply(1, cluster, node, public_key=key))
        return answers, problems

    def submit(self, event: MakeEvent, done: Callable[[Reply], None]) -> None:
        made = event(7)
        assert isinstance(made, ChangeMembers)
        self.changes.append(made)
        if self.error is None:
            addresses = {**dict(self.core.membership.addresses), **dict(made.addresses)}
            self.core.membership = replace(
                self.core.membership, addresses=tuple(sorted(addresses.items()))
            )
        done(Reply(7, "Success", 9, self.error))

    def listens(self, node: int, address: str) -> None:
        """The member runs there."""
        self.at[address] = (node, "red", KEYS[node])

    def look(self) -> None:
        """The watch looks, and finishes what it begins."""

        async def scenario() -> None:
            self.watch.check()
            for _ in range(5):
                await asyncio.sleep(0)

        asyncio.run(scenario())


def moved(world: World) -> list[dict[int, str]]:
    """The addresses of each change, which changes nothing else."""
    for change in world.changes:
        assert (change.voters, change.learners, change.expected_index) == ((1, 2, 3), (), 3)
    return [dict(change.addresses) for change in world.changes]


# --- moves that an operator asks for ---------------------------------------------------------------


@contextmanager
def refused(name: str, *words: str) -> Iterator[None]:
    with pytest.raises(ChangeRefused) as caught:
        yield
    assert caught.value.name == name
    assert all(word in str(caught.value) for word in words), str(caught.value)


def check(world: World, node: int, address: str) -> None:
    asyncio.run(world.moves.check(node, address, 1000))


def test_a_member_may_move_to_where_it_proves_its_key() -> None:
    world = World()
    world.listens(3, "new:1")
    check(world, 3, "new:1")
    assert world.moves.event(5, {3: "new:1"}, 1000).addresses == ((3, "new:1"),)
    assert world.moves.is_done(3, "C.:1")
    assert not world.moves.is_done(3, "new:1")


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (None, "cannot connect"),
        ((2, "red", KEYS[2]), "is node 2, not node 3"),
        ((3, "", KEYS[3]), "does not belong to cluster red"),
        ((3, "blue", KEYS[3]), "does not belong to cluster red"),
        ((3, "red", KEYS[4]), "another public key"),
        ((3, "red", ""), "no public key"),
    ],
)
def test_a_member_does_not_move_to_where_another_node_is(there: Any, why: str) -> None:
    world = World()
    if there is not None:
        world.at["new:1"] = there
    with refused("unreachable", "node 3 was not reached at new:1", why, "start it there"):
        check(world, 3, "new:1")


def test_without_keys_the_answer_of_the_member_is_enough() -> None:
    """Apply rules below 5: a member may still run 0.1.0."""
    world = World()
    world.core.membership = replace(MEMBERS, keys=())
    world.at["new:1"] = (3, "red", "")
    check(world, 3, "new:1")
    world.at["new:1"] = (3, "blue", "")
    with refused("unreachable", "does not belong to cluster red"):
        check(world, 3, "new:1")


def test_a_move_that_makes_no_sense_asks_no_node() -> None:
    world = World()
    for address, why in (("b:1", "is the address of node 2"), ("127.0.0.1:1", "loopback")):
        with pytest.raises(ConfigError, match=why):
            check(world, 3, address)
    with pytest.raises(ConfigError, match="node_addr"):
        check(world, 3, "0.0.0.0:1")
    with refused("unknown_member", "node 9"):
        check(world, 9, "new:1")
    world.announced[3] = "there:1"
    with refused("announced", "--advertise-addr there:1", "--advertise-addr new:1"):
        check(world, 3, "new:1")
    world.core.commit_index = 2
    with refused("pending"):
        check(world, 3, "new:1")
    assert not world.asked


# --- members that announce their addresses ---------------------------------------------------------


def test_the_leader_moves_all_members_in_one_change() -> None:
    """They may have exchanged their addresses. The leader does not ask itself: a NAT may be in between."""
    world = World(own="b:1")
    world.announced = {2: "c:1", 3: "a:1"}
    world.listens(2, "c:1")
    world.listens(3, "a:1")
    world.look()
    assert world.asked == [{2: "c:1", 3: "a:1"}]
    assert moved(world) == [{1: "b:1", 2: "c:1", 3: "a:1"}]
    world.look()
    assert len(world.asked) == len(world.changes) == 1, "there is nothing left to do"


@pytest.mark.parametrize(
    "change",
    [
        {"role": "follower"},
        {"has_committed_in_term": False},
        {"commit_index": 2},
        {"membership": replace(MEMBERS, keys=())},
        {"membership": replace(MEMBERS, voters_outgoing=(1, 2))},
    ],
    ids=["follower", "new_leader", "pending", "no_keys", "joint"],
)
def test_no_member_moves_by_itself_at_other_times(change: dict[str, Any]) -> None:
    world = World(own="z:1")
    world.announced = {3: "new:1"}
    world.listens(3, "new:1")
    vars(world.core).update(change)
    world.look()
    assert not world.asked
    assert not world.changes


def test_a_member_that_is_not_reached_stays_where_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """The others move, and it is asked again later."""
    world = World()
    world.announced = {2: "far:1", 3: "new:1"}
    world.listens(3, "new:1")
    world.look()
    assert moved(world) == [{3: "new:1"}]
    world.look()
    assert len(world.asked) == 1, "after a pause"
    world.seconds = 60.0
    world.look()
    assert len(world.asked) == 2
    lines = [record.msg for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == 1, "the reason is logged once"
    world.listens(2, "far:1")
    world.seconds = 120.0
    world.look()
    assert moved(world)[1:] == [{2: "far:1"}]


def test_one_wrong_address_does_not_keep_others_from_moving() -> None:
    world = World()
    world.announced = {2: "127.0.0.1:1", 3: "new:1"}
    world.listens(2, "127.0.0.1:1")
    world.listens(3, "new:1")
    world.look()
    assert moved(world) == [{3: "new:1"}]


def test_a_change_that_was_rejected_is_tried_again() -> None:
    world = World()
    world.announced = {3: "new:1"}
    world.listens(3, "new:1")
    world.error = NotLeader()
    world.look()
    world.look()
    assert len(world.changes) == 1
    world.error, world.seconds = None, 60.0
    world.look()
    assert moved(world) == [{3: "new:1"}] * 2
