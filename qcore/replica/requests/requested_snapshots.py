"""Requests for a snapshot: each ends with one that holds everything acknowledged before the request.

A request first goes through a read round, like a read at this node (dissertation 6.4): the index that a quorum confirms
covers everything acknowledged when the request arrived. The request then waits for a snapshot through that index or
a later one. The newest snapshot may already be enough. Otherwise one is captured in bounded steps, as the policy's
snapshots are. It becomes the node's newest snapshot, and the log is compacted behind it. One snapshot serves all
requests that wait.
"""

from __future__ import annotations

from typing import Final

from qcore.errors import DeadlineExceeded, Overloaded, QcoreError, Refused
from qcore.replica.events import RequestSnapshot
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.flow_control import retry_after_ms
from qcore.replica.requests.pending import PendingRequest
from qcore.replica.requests.reads import Reads

#: The most requests without an outcome. Each may keep a snapshot alive in the driver.
MAX_SNAPSHOT_REQUESTS: Final = 16


class SnapshotRequests:
    """The unfinished requests for a snapshot of one replica's state.

    Args:
        replica: the replica.
        reads: confirms that its state is recent.
        longest_hint_us: the longest time, µs, after which a rejection asks for a retry.
    """

    def __init__(self, replica: ReplicaContext, reads: Reads, longest_hint_us: int) -> None:
        self._replica = replica
        self._reads = reads
        self._longest_hint_us = longest_hint_us
        #: Requests that wait for a quorum, and the time, µs, that each has afterwards.
        self._unconfirmed: dict[PendingRequest, int] = {}
        self._confirmed: list[PendingRequest] = []

    @property
    def waiting(self) -> bool:
        """True if a request waits for a snapshot that does not exist yet."""
        return bool(self._confirmed)

    def begin(self, event: RequestSnapshot) -> None:
        """Accept a request; it ends in one `Reply` with the index of the snapshot."""
        replica = self._replica
        confirm_ms = min(event.confirm_ms, event.timeout_ms)
        request = replica.start_request(event.request_id, confirm_ms)
        request.kind = "snapshot"
        more_us = (event.timeout_ms - confirm_ms) * 1000
        self._unconfirmed = {
            other: more for other, more in self._unconfirmed.items() if not other.done
        }
        held = [*self._unconfirmed, *self._confirmed]
        diverged = replica.state_error()
        if diverged is not None:
            replica.fail(request, Refused(str(diverged)))
            return
        if len(held) >= MAX_SNAPSHOT_REQUESTS:
            left_us = min(other.deadline for other in held) - replica.now
            hint = retry_after_ms(max(0, left_us), self._longest_hint_us)
            replica.fail(
                request, Overloaded.because(f"{len(held)} copies of the state are waiting", hint)
            )
        elif not event.stale:
            self._unconfirmed[request] = more_us
            self._reads.begin(request)
        elif replica.core.commit_index > 0:
            self._unconfirmed[request] = more_us
            self.confirmed(request)
        else:
            replica.fail(
                request,
                Refused(
                    "this node has no state yet: it belongs to no cluster, or was just added to one"
                ),
            )

    def confirmed(self, request: PendingRequest) -> None:
        """The state holds everything that the request must see: wait for a snapshot of it."""
        request.deadline += self._unconfirmed.pop(request)
        # A snapshot covers at least one entry.
        request.index = max(1, self._replica.applied_index)
        self._confirmed.append(request)

    def abandon(self, error: QcoreError) -> None:
        """Fail every request: no snapshot of this state may be served."""
        waiting = [*self._unconfirmed, *self._confirmed]
        self._unconfirmed, self._confirmed = {}, []
        for request in waiting:
            if not request.done:
                self._replica.cancel(request, Refused(str(error)))

    def settle(self) -> None:
        """Finish the requests for which the newest snapshot is enough."""
        snapshot = self._replica.core.snapshot
        covered_index = snapshot.meta.last_included_index if snapshot else 0
        waiting, self._confirmed = self._confirmed, []
        for request in waiting:
            if request.index <= covered_index:
                self._replica.succeed(request, "", covered_index)
            else:
                self._confirmed.append(request)

    def expire(self, request: PendingRequest) -> QcoreError | None:
        """The error for such a request whose deadline has come; None if the request is not one of these."""
        if request in self._confirmed:
            self._confirmed.remove(request)
            return DeadlineExceeded("the state was not captured in time: allow more time")
        if self._unconfirmed.pop(request, None) is not None:
            return DeadlineExceeded(
                "no quorum confirmed in time that this node's state is recent: retry, or ask for a stale copy"
            )
        return None
