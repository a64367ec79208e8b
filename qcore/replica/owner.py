"""What the parts of a replica (`admin`, `relay`) need of the replica that they belong to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from qcore.core.effects import Effect
from qcore.core.events import Event
from qcore.core.raft import RaftCore
from qcore.errors import NotLeader, QcoreError
from qcore.replica.messages import PeerMessage
from qcore.replica.requests.pending import PendingRequest


class ReplicaContext(Protocol):
    """The replica, as its parts see it."""

    core: RaftCore
    applied_index: int
    #: What the host knows of a peer that it has no connection to; None if it has one, or does not say.
    connection_problem: Callable[[int], str | None]

    @property
    def has_apply_backlog(self) -> bool:
        """True while something committed is not applied yet."""
        ...

    @property
    def readable_index(self) -> int:
        """Up to which index reads may be served."""
        ...

    @property
    def now(self) -> int:
        """µs on the monotonic clock."""
        ...

    def step_core(self, event: Event) -> list[Effect]:
        """Step the core, carry out what follows, and return its effects."""
        ...

    def send(self, to: int, message: PeerMessage) -> None:
        """Send to a peer, at once."""
        ...

    def start_request(self, request_id: int, timeout_ms: int) -> PendingRequest:
        """A local request with its deadline armed."""
        ...

    def serve(self, request: PendingRequest) -> None:
        """Answer a read from the state as it is now."""
        ...

    def resubmit(self, request: PendingRequest) -> None:
        """Treat it as if it had just come; its deadline stays."""
        ...

    def shorten_deadline(self, request: PendingRequest) -> None:
        """Give up on it after one more election timeout, if not before."""
        ...

    def snapshot_confirmed(self, request: PendingRequest) -> None:
        """Have the state as it is now captured; the request's reads are confirmed."""
        ...

    def confirm_leadership(self, request: PendingRequest) -> None:
        """End the request once a quorum confirms that this node leads."""
        ...

    def succeed(self, request: PendingRequest, result: str, index: int) -> None:
        """Give the request its result as its one outcome."""
        ...

    def fail(self, request: PendingRequest, error: QcoreError) -> None:
        """Give the request an error as its one outcome."""
        ...

    def silence_reason(self, peer_id: int) -> str:
        """What the host knows of a peer that does not answer, in words."""
        ...

    def not_leader(self) -> NotLeader:
        """The error that names the leader as this node knows it."""
        ...
