"""`FounderClient`: asks other founders who they are, and for their votes."""

from __future__ import annotations

from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Final, cast

from qcore.errors import ErrorReply, RemoteProtocolError, from_wire
from qcore.node.discovery.founding_messages import (
    Answer,
    Question,
    acceptance_in,
    answer_of,
    ballot_of,
    fields_of,
    list_of,
)
from qcore.node.discovery.protocol.candidates import Candidate
from qcore.node.discovery.protocol.founding import Ballot, Founder, Founding, Identities
from qcore.runtime.interface import Runtime
from qcore.security.keys.founding_proof import answer_signed, sign_question
from qcore.security.keys.handshake_proof import NONCE_BYTES, nonce_text
from qcore.security.keys.node_key import NodeKey
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.limits import TransportLimits
from qcore.transport.wire import (
    AcceptFounding,
    FounderInfo,
    FoundingVote,
    GetFounder,
    PromiseFounding,
)

#: How long a founder may take to answer, its connection included.
ANSWER_S: Final = 3.0
_CLOSE_S: Final = 0.5


@dataclass(slots=True, frozen=True)
class Location:
    """Where a node may be reached.

    Attributes:
        address: its address. With TLS, its certificate must name this host.
        ip: the IP address to dial; empty to look up the host.
    """

    address: Address
    ip: str = ""

    def __str__(self) -> str:
        return str(Address(self.ip or self.address.host, self.address.port))


class FounderClient:
    """Asks other founders. Every question opens a connection, because there are few.

    Args:
        key: of this node.
        limits: of the connections.
        runtime: the world that the node runs in.
        tls: makes the connections TLS connections.
    """

    def __init__(
        self, key: NodeKey, limits: TransportLimits, runtime: Runtime, tls: SSLContext | None
    ) -> None:
        self._key = key
        self._limits = limits
        self._runtime = runtime
        self._tls = tls

    async def introduced(self, location: Location) -> Candidate:
        """What the node there reports about itself, and has signed.

        Raises:
            QcoreError: it has not answered, or not as a founder.
        """
        info = await self._ask(location, GetFounder("", self._nonce()), FounderInfo)
        founder = Founder(info.node_id, info.address, info.public_key)
        return Candidate(str(location), founder, info.expect, info.cluster_id, info.version)

    async def promise(
        self, location: Location, voter: Founder, ballot: Ballot, founders: Identities
    ) -> FoundingVote:
        """Ask a founder for its promise.

        Raises:
            QcoreError: there is no sound answer that this founder has signed.
        """
        message = PromiseFounding(
            "", self._nonce(), ballot, [(node, key) for node, key in founders], ""
        )
        return await self._vote(location, voter, message)

    async def accept(
        self, location: Location, voter: Founder, ballot: Ballot, founding: Founding
    ) -> FoundingVote:
        """Ask a founder to accept a founding.

        Raises:
            QcoreError: there is no sound answer that this founder has signed.
        """
        message = AcceptFounding("", self._nonce(), ballot, list_of(founding), "")
        return await self._vote(location, voter, message)

    async def _vote(
        self, location: Location, voter: Founder, message: PromiseFounding | AcceptFounding
    ) -> FoundingVote:
        name = type(message).__name__
        message.signature = sign_question(self._key, name, fields_of(message))
        vote: FoundingVote = await self._ask(location, message, FoundingVote, voter.public_key)
        if vote.node_id != voter.node_id:
            raise RemoteProtocolError(f"it votes as node {vote.node_id}")
        ballot_of(vote.promised)
        acceptance_in(vote)
        return vote

    def _nonce(self) -> str:
        return nonce_text(self._runtime.random_bytes(NONCE_BYTES))

    async def _ask(
        self,
        location: Location,
        message: Question,
        kind: type[Any],  # FounderInfo or FoundingVote, as the caller annotates
        key: str = "",
    ) -> Any:
        name, question = type(message).__name__, fields_of(message)
        runtime = self._runtime
        if location.ip:
            runtime = cast("Runtime", _WithAddress(runtime, location.ip))
        connection = await ClientConnection.connect(
            location.address,
            timeout_s=ANSWER_S,
            limits=self._limits,
            runtime=runtime,
            tls=self._tls,
        )
        try:
            del question["id"]
            content = await connection.request(name, question, timeout_s=ANSWER_S)
        except ErrorReply as error:
            raise RemoteProtocolError(
                f"it does not understand {name}, so its qcore may be older: {error}"
            ) from None
        finally:
            await connection.close(_CLOSE_S)
        response = content.get("response")
        if not isinstance(response, dict) or "Ok" not in response:
            text = response.get("Err") if isinstance(response, dict) else None
            raise from_wire(str(text or "it answered without a result"), content.get("detail"))
        answer: Answer = answer_of(kind, response["Ok"])
        signer = answer.public_key if isinstance(answer, FounderInfo) else key
        if not answer_signed(signer, answer.signature, name, question, fields_of(answer)):
            raise RemoteProtocolError("its answer is not signed with the key of the node")
        return answer


class _WithAddress:
    """A `Runtime` that looks up no host: every host has this IP address."""

    def __init__(self, runtime: Runtime, ip: str) -> None:
        self._runtime = runtime
        self._ip = ip

    async def resolve(self, host: str, timeout_s: float) -> list[str]:
        """See `Runtime`."""
        return [self._ip]

    def __getattr__(self, name: str) -> Any:  # the other methods of the runtime
        return getattr(self._runtime, name)
