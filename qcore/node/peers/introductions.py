"""What a peer says about itself, and why peers refuse this node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from qcore.core.version import VersionSupport
from qcore.release import __version__
from qcore.replica.peers.identity import PeerHello
from qcore.transport.wire import PROTOCOL_VERSION, Hello, HelloReply


def first_rejection(problems: Mapping[int, str]) -> str | None:
    """The first of these problems with peers that is a rejection by the peer, or None."""
    return next((text for text in problems.values() if text.startswith("refused by")), None)


def introduction_of(message: Hello | HelloReply) -> PeerHello:
    """The content of a peer's `Hello` or `HelloReply`."""
    support = VersionSupport(*message.rules, message.machine, *message.machine_versions)
    return PeerHello(
        message.node_id,
        message.cluster_id,
        message.incarnation,
        message.membership_index,
        support,
        message.public_key if isinstance(message, HelloReply) and message.signature else "",
    )


class _Common(TypedDict):
    """What a node says about itself at both ends of a connection; see `Hello`."""

    protocol: int
    cluster_id: str
    node_id: int
    version: str
    incarnation: str
    membership_index: int
    rules: tuple[int, int]
    machine: str
    machine_versions: tuple[int, int]


def hello_of(own: PeerHello, message_id: str, address: str) -> Hello:
    """The `Hello` of a node that announces this address, without what it says about keys."""
    return Hello(id=message_id, address=address, **_common(own))


def reply_of(own: PeerHello) -> HelloReply:
    """The `HelloReply` of a node, without what it says about keys."""
    return HelloReply(**_common(own))


def _common(own: PeerHello) -> _Common:
    return {
        "protocol": PROTOCOL_VERSION,
        "cluster_id": own.cluster_id,
        "node_id": own.node_id,
        "version": __version__,
        "incarnation": own.incarnation,
        "membership_index": own.membership_index,
        "rules": (own.support.rules_min, own.support.rules_max),
        "machine": own.support.machine,
        "machine_versions": (own.support.machine_min, own.support.machine_max),
    }
