"""`FoundingRequests`: answers the questions of other founders.

A stranger may send these messages. Nothing is stored for it, and it takes no place from the founders: a vote begins
only for founders that this node has found itself or whose founding it has accepted, with the signature of one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

from qcore.errors import (
    ConfigError,
    NotLeader,
    Overloaded,
    QcoreError,
    RemoteProtocolError,
)
from qcore.node.discovery.founding_messages import (
    ballot_of,
    fields_of,
    founding_of,
    identities_in,
    vote_of,
)
from qcore.node.discovery.protocol.founding import Ballot, Founder, Identities
from qcore.node.discovery.voter import Voter
from qcore.replica.peers.identity import ClusterIdentity
from qcore.security.keys.founding_proof import question_signed, sign_answer
from qcore.security.keys.node_key import NodeKey
from qcore.transport.server.server import MessageHandler, ServerConnection
from qcore.transport.wire import (
    AcceptFounding,
    AcceptFoundingResponse,
    FounderInfo,
    GetFounder,
    GetFounderResponse,
    Init,
    InitResponse,
    Ok,
    PromiseFounding,
    PromiseFoundingResponse,
    failure,
)

#: The most votes in progress, and the retry hint beyond it.
_MAX_VOTES: Final = 32
_RETRY_MS: Final = 500


class FoundingRequests:
    """Answers the questions of other founders, and rejects `Init` at a node that founds a cluster by itself.

    Args:
        identity: of this node.
        key: of this node.
        own: returns this node as a founder.
        expect: how many founders it expects; 0 if it founds no cluster.
        voter: votes.
        begins_with: returns the version with which this node would begin a cluster, in words.

    Attributes:
        handlers: the handlers of these messages, by class; see `ServerHandler`.
    """

    def __init__(
        self,
        identity: ClusterIdentity,
        key: NodeKey,
        own: Callable[[], Founder],
        expect: int,
        voter: Voter,
        begins_with: Callable[[], str],
    ) -> None:
        self._identity = identity
        self._key = key
        self._own = own
        self._expect = expect
        self._voter = voter
        self._begins_with = begins_with
        #: The votes in progress, as an ordered set.
        self._votes: dict[asyncio.Task[None], None] = {}
        self._stopped = False
        self.handlers: dict[type, MessageHandler] = {
            GetFounder: self._introduce,
            PromiseFounding: self._promise,
            AcceptFounding: self._accept,
        }

    def stop(self) -> None:
        """Answer no more questions."""
        self._stopped = True
        for task in [*self._votes]:
            task.cancel()

    def instead_of(self, init: MessageHandler) -> MessageHandler:
        """The handler of `Init`: rejects it while this node founds a cluster, else as `init` does."""

        def handle(connection: ServerConnection, message: Init) -> None:
            if not self._voter.takes_part or self._identity.cluster_id is not None:
                init(connection, message)
                return
            error = ConfigError(
                f"node {self._identity.node_id} begins a cluster with the other founders (--auto-init), so it takes no "
                "Init: its log shows what it waits for. Or start all founders without --auto-init, and repeat this"
            )
            connection.send(InitResponse(message.id, *failure(error)))

        return handle

    def _introduce(self, connection: ServerConnection, message: GetFounder) -> None:
        own = self._own()
        takes_part = self._voter.takes_part
        info = FounderInfo(
            own.node_id,
            own.address,
            own.public_key,
            self._expect if takes_part else 0,
            self._identity.cluster_id or "",
            self._begins_with() if takes_part else "",
            "",
        )
        question, name = fields_of(message), type(message).__name__
        info.signature = sign_answer(self._key, name, question, fields_of(info))
        connection.send(GetFounderResponse(message.id, Ok(info)))

    def _promise(self, connection: ServerConnection, message: PromiseFounding) -> None:
        founders = identities_in(message)
        self._begin(
            connection,
            message,
            founders,
            lambda ballot: self._voter.promise(ballot, founders),
        )

    def _accept(self, connection: ServerConnection, message: AcceptFounding) -> None:
        founding = founding_of(message.founding)
        self._begin(
            connection,
            message,
            founding.identities,
            lambda ballot: self._voter.accept(ballot, founding),
        )

    def _begin(
        self,
        connection: ServerConnection,
        message: PromiseFounding | AcceptFounding,
        founders: Identities,
        vote: Callable[[Ballot], Coroutine[None, None, str]],
    ) -> None:
        """Begin a vote, if a founder asks for it."""
        try:
            if self._stopped:
                raise NotLeader()
            if why := self._voter.objection(founders):
                self._send_vote(connection, message, why)
                return
            if len(self._votes) >= _MAX_VOTES:
                raise Overloaded.because("other votes are in progress", _RETRY_MS)
            ballot = ballot_of(message.ballot)
            # These founders, and so this key, are those that this node knows.
            key, name = dict(founders).get(ballot.node_id, ""), type(message).__name__
            if not question_signed(key, message.signature, name, fields_of(message)):
                raise RemoteProtocolError(
                    f"{name}: the signature is not that of founder {ballot.node_id}"
                )
        except QcoreError as error:
            _reject(connection, message, error)
            return
        task = asyncio.get_running_loop().create_task(
            self._answer(connection, message, vote(ballot)), name="qcore vote"
        )
        self._votes[task] = None
        task.add_done_callback(self._votes.pop)

    async def _answer(
        self,
        connection: ServerConnection,
        message: PromiseFounding | AcceptFounding,
        vote: Coroutine[None, None, str],
    ) -> None:
        try:
            why = await vote
        except QcoreError as error:
            _reject(connection, message, error)
            return
        self._send_vote(connection, message, why)

    def _send_vote(
        self, connection: ServerConnection, message: PromiseFounding | AcceptFounding, why: str
    ) -> None:
        answer = vote_of(self._identity.node_id, self._voter.promises, why)
        question, name = fields_of(message), type(message).__name__
        answer.signature = sign_answer(self._key, name, question, fields_of(answer))
        connection.send(_response_to(message)(message.id, Ok(answer)))


def _reject(
    connection: ServerConnection, message: PromiseFounding | AcceptFounding, error: QcoreError
) -> None:
    connection.send(_response_to(message)(message.id, *failure(error)))


def _response_to(
    message: PromiseFounding | AcceptFounding,
) -> type[PromiseFoundingResponse | AcceptFoundingResponse]:
    is_promise = isinstance(message, PromiseFounding)
    return PromiseFoundingResponse if is_promise else AcceptFoundingResponse
