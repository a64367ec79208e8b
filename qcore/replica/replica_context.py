"""`ReplicaContext`: the interface of a replica for its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from qcore.core.effects import Effect
from qcore.core.events import Event
from qcore.core.raft import RaftCore
from qcore.errors import NotLeader, QcoreError
from qcore.replica.events import ReplicaEffect
from qcore.replica.messages import PeerMessage
from qcore.replica.requests.pending import PendingRequest

#: The text of a `NotLeader` of a node without a cluster.
NO_CLUSTER: Final = (
    "this node belongs to no cluster yet: begin one with Init (`qcore cluster init`), or add this node to one "
    "(`qcore member add`)"
)


class ReplicaContext(Protocol):
    """What the parts of a replica may use of it."""

    core: RaftCore
    #: Why there is no connection to a peer; None if there is one, or if the driver does not know.
    connection_problem: Callable[[int], str | None]

    @property
    def applied_index(self) -> int:
        """The index of the last applied entry."""
        ...

    @property
    def has_apply_backlog(self) -> bool:
        """True while committed entries are not applied yet."""
        ...

    @property
    def readable_index(self) -> int:
        """Reads up to this index may be served: `applied_index`, or -1 while a snapshot is being restored."""
        ...

    @property
    def now(self) -> int:
        """µs on the monotonic clock."""
        ...

    def state_error(self) -> QcoreError | None:
        """Why nothing may be answered from the state, which differs from that of a majority; None if it may."""
        ...

    def step_core(self, event: Event) -> list[Effect]:
        """Step the core, carry out its effects, and return them."""
        ...

    def carry_out(self, effects: list[Effect]) -> None:
        """Carry out effects of the core, or pass them to the driver."""
        ...

    def emit(self, effect: ReplicaEffect) -> None:
        """Return this effect from the current step."""
        ...

    def send(self, to: int, message: PeerMessage) -> None:
        """Send a message to a peer without waiting for a write."""
        ...

    def start_request(self, request_id: int, timeout_ms: int) -> PendingRequest:
        """Create a local admin request with a deadline."""
        ...

    def serve(self, request: PendingRequest) -> None:
        """Serve a read from the current state."""
        ...

    def resubmit(self, request: PendingRequest) -> None:
        """Start the request again, with the same deadline."""
        ...

    def shorten_deadline(self, request: PendingRequest) -> None:
        """Move the deadline to one election timeout from now, unless it is earlier."""
        ...

    def snapshot_confirmed(self, request: PendingRequest) -> None:
        """Capture the current state for this request: a quorum has confirmed that it is recent."""
        ...

    def cancel(self, request: PendingRequest, error: QcoreError) -> None:
        """Fail a request that still waits: nothing may answer it later."""
        ...

    def watch_confirmed(self, request: PendingRequest) -> None:
        """Begin this watch: a quorum has confirmed that the state is recent."""
        ...

    def confirm_leadership(self, request: PendingRequest) -> None:
        """End the request once a quorum confirms that this node leads."""
        ...

    def succeed(self, request: PendingRequest, result: str, index: int) -> None:
        """End the request with a result."""
        ...

    def fail(self, request: PendingRequest, error: QcoreError) -> None:
        """End the request with an error."""
        ...

    def silence_reason(self, peer_id: int) -> str:
        """Why a peer does not respond, as text."""
        ...

    def not_leader(self) -> NotLeader:
        """The error that names the leader, if this node knows one."""
        ...
