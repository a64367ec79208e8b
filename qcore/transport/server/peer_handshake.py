"""`PeerHandshake`: the handshake on one accepted connection. It begins once, and asks for one proof."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from qcore.errors import QcoreError, RemoteProtocolError
from qcore.transport.server.handler import (
    PeerIdentity,
    ServerConnection,
    ServerHandler,
    check_hello,
)
from qcore.transport.wire import (
    ASKING_ROLE,
    Hello,
    HelloProof,
    HelloProofResponse,
    HelloReply,
    HelloResponse,
    Ok,
    failure,
)

logger = logging.getLogger("qcore.transport")


@dataclass(slots=True, frozen=True)
class Progress:
    """The result of a step of the handshake.

    Attributes:
        response: what to send.
        peer: the peer, once it is accepted.
        refusal: why the connection is then to be closed; None if it is not.
    """

    response: HelloResponse | HelloProofResponse
    peer: PeerIdentity | None = None
    refusal: str | None = None


class PeerHandshake:
    """The handshake on one connection.

    Args:
        handler: decides which peers are accepted.
        needs_certificate: see `check_hello`.
    """

    __slots__ = ("_began", "_challenge", "_handler", "_needs_certificate")

    def __init__(self, handler: ServerHandler, needs_certificate: bool) -> None:
        self._handler = handler
        self._needs_certificate = needs_certificate
        self._began = False
        #: The `Hello` and the reply whose proof is awaited.
        self._challenge: tuple[Hello, HelloReply] | None = None

    def take(
        self,
        connection: ServerConnection,
        message: Hello | HelloProof,
        transport: asyncio.Transport | None,
    ) -> Progress:
        """Take the next message of the handshake; `transport` is that of the connection."""
        try:
            return self._step(connection, message, transport)
        except QcoreError as error:
            return _refused(connection, message, error)

    def _step(
        self,
        connection: ServerConnection,
        message: Hello | HelloProof,
        transport: asyncio.Transport | None,
    ) -> Progress:
        if isinstance(message, HelloProof):
            return self._take_proof(connection, message)
        if self._began:
            raise RemoteProtocolError("Hello: there was one on this connection before")
        self._began = True
        check_hello(message, transport, self._needs_certificate)
        reply = self._handler.on_hello(connection, message)
        peer = None
        if message.role != ASKING_ROLE:
            if reply.signature:
                self._challenge = message, reply
            else:
                peer = PeerIdentity(message.node_id, message.cluster_id)
        return Progress(HelloResponse(message.id, Ok(reply)), peer)

    def _take_proof(self, connection: ServerConnection, proof: HelloProof) -> Progress:
        challenge, self._challenge = self._challenge, None
        if challenge is None:
            raise RemoteProtocolError("HelloProof: there was no Hello that needs one")
        hello, reply = challenge
        self._handler.on_proof(connection, hello, reply, proof)
        peer = PeerIdentity(hello.node_id, hello.cluster_id)
        return Progress(HelloProofResponse(proof.id, Ok(None)), peer)


def _refused(
    connection: ServerConnection, message: Hello | HelloProof, error: QcoreError
) -> Progress:
    response: HelloResponse | HelloProofResponse
    if isinstance(message, Hello):
        name = f"Hello of node {message.node_id}"
        response = HelloResponse(message.id, *failure(error))
    else:
        name, response = "HelloProof", HelloProofResponse(message.id, *failure(error))
    logger.warning("%s: %s refused: %s", connection.remote, name, error)
    return Progress(response, refusal=str(error))
