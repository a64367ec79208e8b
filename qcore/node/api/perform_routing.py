"""From an application's operation and the options of its `Perform` to the replica's kind of request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qcore.errors import RemoteProtocolError
from qcore.node.application import Operation
from qcore.replica.messages import RequestKind
from qcore.replica.sessions.session_table import session_command_payload
from qcore.transport.perform_options import Consistency, SessionUse, Stale

_READ_KINDS: Final[dict[str, RequestKind]] = {
    "linearizable": "read",
    "lease": "lease_read",
    "follower": "follower_read",
}


@dataclass(slots=True, frozen=True)
class ReplicaRequest:
    """What the replica is asked: see `qcore.replica.events.ClientRequest`."""

    kind: RequestKind
    payload: str
    max_staleness_ms: int = 0


def replica_request(
    operation: Operation, consistency: Consistency, session: SessionUse | None
) -> ReplicaRequest:
    """How to carry out the operation.

    Raises:
        RemoteProtocolError: an option makes no sense for it.
    """
    if operation.kind == "write":
        if consistency != "linearizable":
            raise RemoteProtocolError(
                "Perform.consistency: it is for reads; this request writes: leave it out"
            )
        if session is None:
            return ReplicaRequest("write", operation.payload)
        once = session_command_payload(
            session.id, session.sequence, session.acknowledged, operation.payload
        )
        return ReplicaRequest("session", once)
    if session is not None:
        raise RemoteProtocolError(
            "Perform.session: it is for writes; a read may be repeated without one: leave it out"
        )
    if isinstance(consistency, Stale):
        return ReplicaRequest("stale_read", operation.payload, consistency.stale)
    return ReplicaRequest(_READ_KINDS[consistency], operation.payload)


def metric_kind(kind: RequestKind) -> str:
    """`write` or `read`, for the counters."""
    return "write" if kind in ("write", "session") else "read"
