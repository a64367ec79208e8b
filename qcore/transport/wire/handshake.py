"""The handshake between peers: `Hello` and its response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from qcore.transport.wire.common import (
    INT_LIMIT,
    Detail,
    Err,
    MessageId,
    NodeId,
    Ok,
    VersionNumber,
)

VersionRange = tuple[VersionNumber, VersionNumber]
#: Ids and versions are stored and logged, so their length is bounded.
Name = Annotated[str, Field(max_length=256)]
MachineName = Annotated[str, Field(max_length=64)]

#: For the messages of the handshake, because an older node must accept fields that it does not know.
_EXTENSIBLE = ConfigDict(strict=True, extra="ignore")


@dataclass(slots=True)
class Hello:
    """A node's first message on a connection that it opens to a peer.

    A node ignores fields that a later protocol adds, so an old node can answer that it does not support that version.

    Attributes:
        protocol: `PROTOCOL_VERSION` of the sender.
        cluster_id: the sender's cluster; empty while it belongs to none.
        node_id: the sender.
        role: `peer`.
        version: the sender's software version, for humans.
        incarnation: identifies the sender's data directory. A new one means that the node was wiped.
        membership_index: log index of the sender's effective configuration. A node that is not a member of the
            receiver's configuration is accepted only with a newer one: it may have been added meanwhile.
        rules: first and last apply rules that the sender supports.
        machine: name of its state machine; empty from version 0.1.0, which does not send it.
        machine_versions: first and last version of that state machine that it supports.
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


@dataclass(slots=True)
class HelloReply:
    """The identity of the node that answers a `Hello`; the fields have the same meaning as there."""

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


@dataclass(slots=True)
class HelloResponse:
    """The response to `Hello`. After an `Err` the connection is closed with 1008."""

    id: MessageId
    response: Ok[HelloReply] | Err
    detail: Detail | None = None
