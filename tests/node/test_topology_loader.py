"""Which nodes propose the topology, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from qcore.core.effects import RoleChanged
from qcore.errors import NotLeader
from qcore.node import topology_loader
from qcore.node.observability.logs import NodeLog
from qcore.node.topology_loader import TopologyLoader
from qcore.replica.events import Reply
from qcore.replica.messages import RequestKind

LEADS = RoleChanged("leader", 2, 1)
FOLLOWS = RoleChanged("follower", 2, 1)
NO_LEADER = RoleChanged("pre_candidate", 2, None)


class World:
    """A store that may be pristine, and the proposals that were made."""

    def __init__(self) -> None:
        self.is_pristine = True
        self.proposals: list[Callable[[Reply], None]] = []
        self.proposed_again = asyncio.Event()
        self.loader = TopologyLoader("load", lambda: self.is_pristine, self.submit, NodeLog(1))

    def submit(self, kind: RequestKind, payload: str, done: Callable[[Reply], None]) -> None:
        assert (kind, payload) == ("write", "load")
        self.proposals.append(done)
        if len(self.proposals) == 2:
            self.proposed_again.set()

    def succeed(self) -> None:
        self.is_pristine = False
        self.proposals[-1](Reply(1, "{}", 3, None))


def test_a_leader_proposes_immediately_and_one_at_a_time() -> None:
    async def scenario() -> None:
        world = World()
        world.loader.role_changed(LEADS)
        world.loader.role_changed(LEADS)
        assert len(world.proposals) == 1
        world.succeed()
        world.loader.role_changed(LEADS)
        assert len(world.proposals) == 1

    asyncio.run(scenario())


def test_a_node_that_joins_later_or_restarts_does_nothing() -> None:
    async def scenario() -> None:
        world = World()
        world.is_pristine = False
        world.loader.role_changed(LEADS)
        assert world.proposals == []

    asyncio.run(scenario())


def test_a_follower_proposes_only_if_no_other_node_did() -> None:
    async def scenario(others_do: bool) -> int:
        topology_loader._FOLLOWER_DELAY_S = 0.01  # type: ignore[misc] # a test need not wait two seconds
        world = World()
        world.loader.role_changed(NO_LEADER)
        world.loader.role_changed(FOLLOWS)
        assert world.proposals == []
        world.is_pristine = not others_do
        await asyncio.sleep(0.2)
        return len(world.proposals)

    before = topology_loader._FOLLOWER_DELAY_S
    try:
        assert asyncio.run(scenario(others_do=True)) == 0
        assert asyncio.run(scenario(others_do=False)) == 1
    finally:
        topology_loader._FOLLOWER_DELAY_S = before  # type: ignore[misc] # put back


def test_a_rejected_proposal_is_retried_until_it_succeeds() -> None:
    async def scenario() -> None:
        world = World()
        world.loader.role_changed(LEADS)
        world.proposals[0](Reply(1, None, 0, NotLeader()))
        await asyncio.wait_for(world.proposed_again.wait(), 20)
        world.succeed()

    asyncio.run(scenario())


def test_init_is_answered_once_the_topology_is_loaded() -> None:
    async def scenario() -> None:
        world = World()
        answered: list[bool] = []
        world.loader.after_init(lambda: answered.append(True))
        assert answered == []
        world.succeed()
        assert answered == [True]

    asyncio.run(scenario())


def test_a_stopped_loader_proposes_nothing() -> None:
    async def scenario() -> None:
        world = World()
        world.loader.stop()
        world.loader.role_changed(LEADS)
        assert world.proposals == []

    asyncio.run(scenario())
