"""The handshake between peers: `Hello` and `HelloProof`, with their responses.

The dialler sends `Hello`, the acceptor answers with its identity and a signature, and the dialler sends a signature in
`HelloProof`. Then the connection is a peer's. `qcore.security.keys.handshake_proof` defines what is signed.
Nodes without keys (0.1.0) send neither nonce nor key: their connection is a peer's after `HelloResponse`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import not_
from typing import Annotated, Any, ClassVar, Final

from pydantic import ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from qcore.transport.wire.common import (
    INT_LIMIT,
    Detail,
    Err,
    KeyText,
    MessageId,
    NodeId,
    Ok,
    VersionNumber,
)

#: Not strict: a message that keeps what it was read from is validated as Python lists, which strictly are no tuples.
VersionRange = Annotated[tuple[VersionNumber, VersionNumber], Field(strict=False)]
#: Ids and versions are stored and logged, so their length is bounded.
Name = Annotated[str, Field(max_length=256)]
MachineName = Annotated[str, Field(max_length=64)]
#: `host:port`. A host name has at most 253 characters.
AddressText = Annotated[str, Field(max_length=300)]

Voucher = Annotated[
    tuple[NodeId, Annotated[int, Field(ge=0, lt=INT_LIMIT)], KeyText], Field(strict=False)
]
#: The most vouchers of a `Hello`.
MAX_VOUCHERS: Final = 8

#: The longest message of the handshake as JSON text, characters, also of later versions: a node keeps what a stranger
#: sends until it has proved who it is. The longest of this version has about 5000.
MAX_HANDSHAKE_CHARS: Final = 32 * 1024

#: The role of a node that opens a connection to a peer, and of one that only asks for the other's public key.
PEER_ROLE: Final = "peer"
ASKING_ROLE: Final = "asking"

#: For the messages of the handshake, because an older node must accept fields that it does not know.
_EXTENSIBLE = ConfigDict(strict=True, extra="ignore")


class KeepsReceived:
    """A message that keeps the JSON object that it was read from.

    Both nodes sign the object itself, not the fields that they know. So a later version can add a field: an older node
    signs it, too, and it can be neither changed nor removed on the way.

    Attributes:
        received: the object; not set for a message that this node made.
    """

    __slots__ = ("received",)
    received: dict[str, object]

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(_keep_received, handler(source))


def _keep_received(
    value: dict[str, object], validate: Callable[[object], KeepsReceived]
) -> KeepsReceived:
    message = validate(value)
    if len(json.dumps(value, separators=(",", ":"), ensure_ascii=False)) > MAX_HANDSHAKE_CHARS:
        raise PydanticCustomError(
            "handshake_too_long",
            "a message of the handshake has more than {limit} characters",
            {"limit": MAX_HANDSHAKE_CHARS},
        )
    message.received = value
    return message


@dataclass(slots=True)
class Hello(KeepsReceived):
    """A node's first message on a connection that it opens to a peer.

    A node ignores fields that a later protocol adds, so an old node can answer that it does not support that version.

    Attributes:
        protocol: `PROTOCOL_VERSION` of the sender.
        cluster_id: the sender's cluster; empty while it belongs to none.
        node_id: the sender.
        role: `peer`; or `asking` for a node that only asks for the public key of the other, and is not accepted as a
            peer.
        version: the sender's software version, for humans.
        incarnation: identifies the sender's data directory. A new one means that the node was wiped.
        membership_index: log index of the sender's effective configuration. A node that is not a member of the
            receiver's configuration is accepted only with a newer one: it may have been added meanwhile.
        rules: first and last apply rules that the sender supports.
        machine: name of its state machine; empty from version 0.1.0, which does not send it.
        machine_versions: first and last version of that state machine that it supports.
        nonce: drawn for this connection; empty from a node that proves nothing.
        public_key: of the sender; empty if it has none.
        vouchers: statements of members about the sender's key, each as id, log index and signature: the receiver's
            configuration may be older than the sender's membership.
        address: where others reach the sender, `host:port`; left out if it was not started with an address for others.
            A member that proves its key with another address than the configuration has for it has moved.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _EXTENSIBLE

    id: MessageId
    protocol: Annotated[int, Field(ge=0, lt=INT_LIMIT)]
    cluster_id: Name
    node_id: NodeId
    role: Name = "peer"
    version: Name = ""
    incarnation: Name = ""
    membership_index: Annotated[int, Field(ge=0, lt=INT_LIMIT)] = 0
    rules: VersionRange = (1, 1)
    machine: MachineName = ""
    machine_versions: VersionRange = (1, 1)
    nonce: KeyText = ""
    public_key: KeyText = ""
    vouchers: Annotated[list[Voucher], Field(max_length=MAX_VOUCHERS)] = field(default_factory=list)
    address: Annotated[AddressText, Field(exclude_if=not_)] = ""


@dataclass(slots=True)
class HelloReply(KeepsReceived):
    """The identity of the node that answers a `Hello`; the fields have the same meaning as there.

    Attributes:
        signature: proves that the node owns its public key; empty if the `Hello` has no nonce.
        voucher: the statement of this node about the key of the other, for its later connections.
        join_token: the id of the join token of this node, if it waits to be added and a member asks for its key.
        join_proof: the signature of that token over this handshake, and so over the public key of this node.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _EXTENSIBLE

    protocol: Annotated[int, Field(ge=0, lt=INT_LIMIT)]
    cluster_id: Name
    node_id: NodeId
    version: Name = ""
    incarnation: Name = ""
    membership_index: Annotated[int, Field(ge=0, lt=INT_LIMIT)] = 0
    rules: VersionRange = (1, 1)
    machine: MachineName = ""
    machine_versions: VersionRange = (1, 1)
    nonce: KeyText = ""
    public_key: KeyText = ""
    signature: KeyText = ""
    voucher: KeyText = ""
    join_token: Annotated[KeyText, Field(exclude_if=not_)] = ""
    join_proof: Annotated[KeyText, Field(exclude_if=not_)] = ""


@dataclass(slots=True)
class HelloResponse:
    """The response to `Hello`. After an `Err` the connection is closed with 1008."""

    id: MessageId
    response: Ok[HelloReply] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class HelloProof(KeepsReceived):
    """The dialler's proof that it owns the public key in its `Hello`.

    Attributes:
        signature, voucher: as in `HelloReply`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _EXTENSIBLE

    id: MessageId
    signature: KeyText
    voucher: KeyText = ""


@dataclass(slots=True)
class HelloProofResponse:
    """The response to `HelloProof`: the connection is a peer's. After an `Err` it is closed with 1008."""

    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


#: What writes a message, made when it is first needed.
_adapters: dict[type, TypeAdapter[Any]] = {}  # Any: a message of the handshake


def signed_fields(message: Hello | HelloReply | HelloProof) -> dict[str, object]:
    """The fields of a message that both nodes sign: exactly those that are sent, also the ones unknown here."""
    received: dict[str, object] | None = getattr(message, "received", None)
    if received is None:
        cls = type(message)
        adapter = _adapters.get(cls) or _adapters.setdefault(cls, TypeAdapter(cls))
        received = json.loads(adapter.dump_json(message, by_alias=True))
    return received
