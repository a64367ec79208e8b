"""`ask_nodes`: asks nodes for their public keys: before a cluster begins whose id depends on them, or to add a node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from qcore.node.peers.peer_keys import PeerKeys
from qcore.transport.peers.peer_pool import PeerHandler, PeerPool
from qcore.transport.wire import ASKING_ROLE, Hello, HelloProof, HelloReply

#: Makes a pool of connections, given its handler and what makes its `Hello`s.
MakePool = Callable[[PeerHandler, Callable[[str], Hello]], PeerPool]


@dataclass(slots=True, frozen=True)
class Answer:
    """What a node has answered, which has proved that it owns the public key in its reply."""

    hello: Hello
    reply: HelloReply


class AskedPeers(Protocol):
    """What asks the peers of a node: a `qcore.node.peers.peer_router.PeerRouter`."""

    async def ask_nodes(
        self,
        nodes: Mapping[int, str],
        timeout_s: float,
        cluster_id: str = "",
        *,
        need_keys: bool = True,
    ) -> tuple[Mapping[int, Answer], Mapping[int, str]]:
        """See `ask_nodes`."""
        ...

    def announced_by(self, peer: int) -> str | None:
        """See `PeerRouter`."""
        ...


class _Answers:
    """The `PeerHandler` that collects the answers.

    Attributes:
        found: the answers, by id.
        changed: set when an attempt to reach a node has succeeded or failed.
    """

    def __init__(self, keys: PeerKeys, need_keys: bool) -> None:
        self.responses: dict[type, Callable[[int, Any], None]] = {}
        self.found: dict[int, Answer] = {}
        self.changed = asyncio.Event()
        self._keys = keys
        self._need_keys = need_keys

    def prove(self, hello: Hello, reply: HelloReply) -> HelloProof | None:
        """See `PeerHandler`. Nothing is proved to the node: it does not accept this connection as a peer's."""
        if reply.signature or self._need_keys:
            self._keys.check_asked(hello, reply)
        self.found[reply.node_id] = Answer(hello, reply)
        return None

    def on_hello_reply(self, reply: HelloReply) -> None:
        """See `PeerHandler`."""

    def on_connected(self, peer_id: int) -> None:
        """See `PeerHandler`."""
        self.changed.set()

    def on_unreachable(self, peer_id: int) -> None:
        """See `PeerHandler`."""
        self.changed.set()


async def ask_nodes(
    make_pool: MakePool,
    hello: Callable[[str], Hello],
    keys: PeerKeys,
    nodes: Mapping[int, str],
    timeout_s: float,
    cluster_id: str = "",
    *,
    need_keys: bool = True,
) -> tuple[dict[int, Answer], dict[int, str]]:
    """What these nodes have answered, and why there is no answer of the others; both by id.

    Ends early once a node was reached and there is no key to get from it.

    Args:
        make_pool: see `MakePool`.
        hello: makes the `Hello` of this node with the given id.
        keys: checks the replies.
        nodes: address by id.
        timeout_s: how long to try.
        cluster_id: the cluster that is to add them, or has them; empty to ask for the founders of a new one.
        need_keys: whether there is no answer without a proof. Otherwise an `Answer` without a key proves nothing.
    """

    def ask(message_id: str) -> Hello:
        asking = hello(message_id)
        asking.role, asking.cluster_id = ASKING_ROLE, cluster_id
        return asking

    answers = _Answers(keys, need_keys)
    pool = make_pool(answers, ask)
    pool.set_peers(nodes)
    try:
        async with asyncio.timeout(timeout_s):
            while len(answers.found) < len(nodes):
                await answers.changed.wait()
                answers.changed.clear()
                if any(state.refused for state in pool.peer_states()):
                    break
    except TimeoutError:
        pass
    finally:
        states = pool.peer_states()
        await pool.close()
    silent = "it has not answered yet"
    problems = {
        state.peer_id: state.last_error or silent
        for state in states
        if state.peer_id not in answers.found
    }
    return answers.found, problems
