"""The leader's side of a join token: it is asked for once, used once, and before the configuration changes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from qcore.core.entry import Membership
from qcore.errors import AccessRefused, ChangeRefused, OutcomeUnknown, QcoreError
from qcore.node.peers.founder_keys import Answer
from qcore.node.peers.joining_nodes import JoiningNodes
from qcore.node.runtime.submit_event import MakeEvent
from qcore.replica.access.access_records import JoinToken
from qcore.replica.events import ClientRequest, Reply
from qcore.replica.replica import Replica
from qcore.security.keys.handshake_proof import sign_join
from qcore.security.keys.node_key import NodeKey
from qcore.transport.wire import Hello, HelloReply, signed_fields

NODE, TOKEN, OTHER = (NodeKey(bytes([number]) * 32) for number in (1, 2, 3))
HELD = JoinToken("abc", TOKEN.public, 1000, 5)
MEMBERS = Membership((1,), addresses=((1, "h:1"),), keys=((1, OTHER.public),), cluster_id="red")


class World:
    """A leader, and the node at the address that it asks.

    Attributes:
        asked: the addresses that were asked, with the cluster id.
        used: the payloads of the entries that use a token.
        error: the outcome of such an entry.
        change: changes the reply of the node.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Mapping[int, str], str]] = []
        self.used: list[str] = []
        self.error: QcoreError | None = None
        self.change: Callable[[HelloReply], HelloReply | None] = lambda reply: reply
        self.tokens = {HELD.id: HELD}
        self.core = SimpleNamespace(
            role="leader",
            membership=MEMBERS,
            membership_index=3,
            commit_index=4,
            has_committed_in_term=True,
            last_clock_us=10,
        )
        access = SimpleNamespace(
            join_token=self.tokens.get, join_tokens=lambda: [*self.tokens.values()]
        )
        replica = cast(Replica, SimpleNamespace(core=self.core, access=access))
        self.joining = JoiningNodes(replica, self.ask, self.submit)

    async def ask(
        self, nodes: Mapping[int, str], timeout_s: float, cluster_id: str
    ) -> tuple[Mapping[int, Answer], Mapping[int, str]]:
        self.asked.append((nodes, cluster_id))
        await asyncio.sleep(0)
        ((node_id, _),) = nodes.items()
        hello = Hello("h", 1, cluster_id, 1, "asking", nonce=os.urandom(8).hex())
        reply = HelloReply(1, "", node_id, public_key=NODE.public, join_token=HELD.id)
        reply.join_proof = sign_join(TOKEN, signed_fields(hello), signed_fields(reply))
        changed = self.change(reply)
        if changed is None:
            return {}, {node_id: "connection refused"}
        return {node_id: Answer(hello, changed)}, {}

    def submit(self, event: MakeEvent, done: Callable[[Reply], None]) -> None:
        made = event(7)
        assert isinstance(made, ClientRequest)
        assert (made.kind, made.user) == ("access", "")
        assert self.core.membership == MEMBERS, "the token is used before the configuration changes"
        self.used.append(made.payload)
        del self.tokens[HELD.id]
        asyncio.get_running_loop().call_soon(done, Reply(7, "null", 9, self.error))

    def key(self) -> str:
        return asyncio.run(self.joining.key_of(4, "h:4", 1000))

    def refusal(self) -> str:
        """Why the node is refused, without the use of a token."""
        with pytest.raises(ChangeRefused) as caught:
            self.key()
        assert not self.used
        return str(caught.value)


@pytest.fixture
def world() -> World:
    return World()


def test_a_proved_token_is_used_and_gives_the_key(world: World) -> None:
    assert world.joining.needs_token(4)
    assert world.key() == NODE.public
    assert world.asked == [({4: "h:4"}, "red")]
    assert world.used == ['{"use_join_token":{"id":"abc"}}']


def test_a_repeated_request_uses_the_token_once(world: World) -> None:
    async def twice() -> list[str]:
        wait: list[Awaitable[str]] = [world.joining.key_of(4, "h:4", 1000) for _ in range(3)]
        return await asyncio.gather(*wait)

    assert asyncio.run(twice()) == [NODE.public] * 3
    assert len(world.asked) == len(world.used) == 1


def test_a_node_that_was_added_meanwhile_needs_no_token(world: World) -> None:
    def added(reply: HelloReply) -> HelloReply:
        world.core.membership = replace(MEMBERS, keys=((1, OTHER.public), (4, NODE.public)))
        return replace(reply, join_token="", join_proof="")

    world.change = added
    assert world.key() == NODE.public
    assert not world.used


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"join_token": ""}, "has no join token"),
        ({"join_proof": ""}, "its proof of the join token"),
        ({"public_key": OTHER.public}, "its proof of the join token"),
        ({"node_id": 5}, "its proof of the join token"),
        ({"nonce": "x"}, "its proof of the join token"),
    ],
)
def test_a_node_without_a_right_proof_is_refused(
    world: World, changes: dict[str, Any], why: str
) -> None:
    world.change = lambda reply: replace(reply, **changes)
    assert why in (text := world.refusal())
    assert "--join-token-file" in text
    assert "qcore node key" in text


def test_a_silent_node_is_refused_with_the_reason(world: World) -> None:
    world.change = lambda reply: None
    assert "h:4: connection refused" in world.refusal()


@pytest.mark.parametrize(
    "tokens", [{}, {"abc": replace(HELD, expires_us=9)}], ids=["none", "expired"]
)
def test_without_a_valid_token_no_node_is_asked(world: World, tokens: dict[str, JoinToken]) -> None:
    world.tokens.clear()
    world.tokens.update(tokens)
    assert "no valid join token" in world.refusal()
    assert not world.asked


def test_an_unknown_token_is_refused(world: World) -> None:
    world.change = lambda reply: replace(reply, join_token="other")
    with pytest.raises(AccessRefused, match="was used or withdrawn"):
        world.key()
    assert not world.used


def test_the_log_decides_whether_a_token_is_valid(world: World) -> None:
    for error in (AccessRefused("no_such_token", "it was used"), OutcomeUnknown("no leader")):
        world.tokens[HELD.id], world.error = HELD, error
        with pytest.raises(type(error)):
            world.key()


def test_a_leader_that_cannot_change_the_members_asks_no_node(world: World) -> None:
    world.core.commit_index = 2
    with pytest.raises(ChangeRefused):
        world.key()
    assert not world.asked


def test_members_and_other_leaders_need_no_token(world: World) -> None:
    assert not world.joining.needs_token(1)
    world.core.role = "follower"
    assert not world.joining.needs_token(4)
    world.core.role, world.core.membership = "leader", replace(MEMBERS, keys=())
    assert not world.joining.needs_token(4)
