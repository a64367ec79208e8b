"""What a peer says about itself, and why peers refuse this node."""

from __future__ import annotations

from collections.abc import Mapping

from qcore.core.version import VersionSupport
from qcore.replica.peers.identity import PeerHello
from qcore.transport.wire import Hello, HelloReply


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
