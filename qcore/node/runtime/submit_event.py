"""How request handlers submit events to the replica: the types for it, and the longest timeout of an admin request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from qcore.errors import QcoreError
from qcore.replica.events import ClientRequest, ReplicaEvent, Reply
from qcore.replica.messages import RequestKind
from qcore.transport.server.server import ServerConnection

#: Makes the event for a request id.
MakeEvent = Callable[[int], ReplicaEvent]
#: Makes the event with a new request id, passes it to the replica, and calls back with the outcome.
SubmitEvent = Callable[[MakeEvent, Callable[[Reply], None]], None]


@dataclass(slots=True, frozen=True)
class Permission:
    """What a request other than a `Perform` may do now.

    Attributes:
        reject_all: if not None, the error to reject every request with (shutting down, too many requests).
        reject_writes: if not None, the error to reject requests with that write to the log (disk full).
        submit_event: see `SubmitEvent`.
    """

    reject_all: QcoreError | None
    reject_writes: QcoreError | None
    submit_event: SubmitEvent


#: Decides about a message of this connection.
GetPermission = Callable[[ServerConnection, object], Permission]

#: The error for a write of this kind, with this payload, that a quota of the node forbids.
WriteQuota = Callable[[RequestKind, str], QcoreError | None]

#: Called when a user may not do something: its connection, what it tried (`read`, `write` or `watch`), and the error.
OnDenied = Callable[[ServerConnection, str, QcoreError], None]

#: The longest timeout that an admin request may ask for.
MAX_TIMEOUT_MS: Final = 3_600_000


def quota_error(event: ReplicaEvent, quota: WriteQuota) -> QcoreError | None:
    """The error if a quota forbids this request of a session or about users. Who makes a write judges it before."""
    if isinstance(event, ClientRequest) and event.kind != "write":
        return quota(event.kind, event.payload)
    return None
