"""`JoiningNodes`: gets the public key of a node that the leader is to add, if the node proves a join token.

The token is used before the configuration names the node: its entry in the log decides which of several nodes gets it.
If the leader fails between the two entries, the token is gone and nothing has changed: the operator makes a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from qcore.display import MAX_SENTENCE_CHARS, truncate
from qcore.errors import AccessRefused, ChangeRefused
from qcore.node.peers.founder_keys import Answer
from qcore.node.runtime.submit_event import SubmitEvent
from qcore.replica.access.access_commands import UseJoinToken, command_text
from qcore.replica.access.access_records import JoinToken
from qcore.replica.admin.membership_requests import not_ready
from qcore.replica.events import ClientRequest, Reply
from qcore.replica.replica import Replica
from qcore.security.keys.handshake_proof import has_join_token
from qcore.transport.wire import signed_fields

#: The part of the time of a request in which the node must answer, and the longest such time.
_ASKING_SHARE: Final = 0.5
_MAX_ASKING_S: Final = 10.0

#: Asks nodes (address by id) for at most so many seconds, in the name of this cluster.
AskNodes = Callable[
    [Mapping[int, str], float, str],
    Awaitable[tuple[Mapping[int, Answer], Mapping[int, str]]],
]


class JoiningNodes:
    """The new nodes that this leader asks for a proof.

    Args:
        replica: holds the join tokens and the configuration.
        ask: see `AskNodes`.
        submit: submits the entry that uses a token.
    """

    def __init__(self, replica: Replica, ask: AskNodes, submit: SubmitEvent) -> None:
        self._replica = replica
        self._ask = ask
        self._submit = submit
        #: By id and address: a client may repeat a request while the first one is in progress.
        self._in_progress: dict[tuple[int, str], asyncio.Task[str]] = {}

    def needs_token(self, node_id: int) -> bool:
        """Whether this node leads, and needs the key of a node that is no member."""
        core = self._replica.core
        known = core.membership.key_of(node_id) or node_id in core.membership.members()
        return core.role == "leader" and bool(core.membership.keys) and not known

    async def key_of(self, node_id: int, address: str, timeout_ms: int) -> str:
        """The public key of a node that has proved a join token, which is used then.

        Raises:
            QcoreError: it has not; the text gives the reason and what to do.
        """
        node = node_id, address
        task = self._in_progress.get(node)
        if task is None:
            work = self._key_of(node_id, address, timeout_ms)
            task = self._in_progress[node] = asyncio.get_running_loop().create_task(work)
            task.add_done_callback(lambda _: self._in_progress.pop(node))
        return await task

    async def _key_of(self, node_id: int, address: str, timeout_ms: int) -> str:
        replica, core = self._replica, self._replica.core
        if (rejection := not_ready(core)) is not None:
            raise rejection
        if not any(self._is_valid(token) for token in replica.access.join_tokens()):
            raise _key_missing(node_id, "there is no valid join token")
        cluster_id = core.membership.cluster_id or ""
        timeout_s = min(_ASKING_SHARE * timeout_ms / 1000, _MAX_ASKING_S)
        answers, problems = await self._ask({node_id: address}, timeout_s, cluster_id)
        answer = answers.get(node_id)
        if answer is None:
            why = truncate(problems.get(node_id, "no answer"), MAX_SENTENCE_CHARS)
            raise _key_missing(node_id, f"it was not reached at {address}: {why}")
        key = answer.reply.public_key
        if core.membership.key_of(node_id) == key:
            return key  # another request has added it meanwhile
        token = self._proved(answer, node_id, address)
        reply = await self._use(token, timeout_ms)
        if reply.error is not None:
            raise reply.error
        return key

    def _is_valid(self, token: JoinToken) -> bool:
        return token.expires_us >= self._replica.core.last_clock_us

    def _proved(self, answer: Answer, node_id: int, address: str) -> JoinToken:
        """The token that the node has proved.

        Raises:
            ChangeRefused: it has proved none.
            AccessRefused: the token was used or withdrawn, or it has expired.
        """
        token_id = answer.reply.join_token
        if not token_id:
            raise _key_missing(node_id, f"the node at {address} has no join token")
        token = self._replica.access.join_token(token_id)
        if token is None or not self._is_valid(token):
            raise AccessRefused(
                "no_such_token",
                f"node {node_id} has the join token {token_id!r:.70}, which was used or withdrawn, or has expired: "
                "make a new one with `qcore member token`, and start the node with it",
            )
        hello, reply = signed_fields(answer.hello), signed_fields(answer.reply)
        if not has_join_token(token.key, answer.reply.join_proof, hello, reply):
            raise _key_missing(node_id, f"its proof of the join token {token.id!r} is wrong")
        return token

    async def _use(self, token: JoinToken, timeout_ms: int) -> Reply:
        used: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        text = command_text(UseJoinToken(token.id))
        self._submit(
            lambda number: ClientRequest(number, "access", text, timeout_ms),
            lambda reply: None if used.done() else used.set_result(reply),
        )
        return await used


def _key_missing(node_id: int, why: str) -> ChangeRefused:
    return ChangeRefused(
        "key_missing",
        f"every member of this cluster has a public key, and that of node {node_id} is not known: {why}. Either start "
        "the new node with a join token (`qcore member token`, `qcore node start --join-token-file`) and repeat this; "
        "or give its key, which `qcore node key --data-dir DIR` prints on its machine. A node of qcore 0.1.0 has none: "
        "upgrade it first",
    )
