"""Turns a `Perform` (an operation and its options) into a request for the replica."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qcore.compiled_build import register_copies
from qcore.errors import InvalidField
from qcore.node.application import Operation
from qcore.replica.messages import RequestKind
from qcore.replica.sessions.session_table import session_command_payload
from qcore.transport.perform_options import Consistency, SessionUse, Stale

_READ_KINDS: Final[dict[str, RequestKind]] = {
    "linearizable": "read",
    "lease": "lease_read",
    "follower": "follower_read",
}

#: The kind under which the metrics count a request.
METRIC_KINDS: Final[dict[RequestKind, str]] = {
    "write": "write",
    "session": "write",
    "read": "read",
    "lease_read": "read",
    "follower_read": "read",
    "stale_read": "read",
}


@dataclass  # not frozen, which takes three times as long to make
class ReplicaRequest:
    """A request for the replica: see `qcore.replica.events.ClientRequest`."""

    kind: RequestKind
    payload: str
    max_staleness_ms: int = 0


def replica_request(
    operation: Operation,
    consistency: Consistency,
    session: SessionUse | None,
    message: str = "Perform",
) -> ReplicaRequest:
    """The replica's request for an operation with these options of its message, whose name `message` is for errors.

    Raises:
        InvalidField: an option does not apply to this operation.
    """
    if operation.kind == "write":
        if consistency != "linearizable":
            raise InvalidField(
                f"{message}.consistency", "it is for reads; this request writes: leave it out"
            )
        if session is None:
            return ReplicaRequest("write", operation.payload)
        payload = session_command_payload(
            session.id, session.sequence, session.acknowledged, operation.payload
        )
        return ReplicaRequest("session", payload)
    if session is not None:
        raise InvalidField(
            f"{message}.session",
            "it is for writes; a read may be repeated without one: leave it out",
        )
    if isinstance(consistency, Stale):
        return ReplicaRequest("stale_read", operation.payload, consistency.stale)
    return ReplicaRequest(_READ_KINDS[consistency], operation.payload)


register_copies(globals())
