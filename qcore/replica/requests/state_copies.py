"""Copies of the state on request: each request ends with a snapshot that holds all that was acknowledged before it.

A request goes through the read rounds first, as a read at this node does (dissertation 6.4): behind the index that
a quorum confirmed lies everything that was acknowledged when it arrived. It then waits for a snapshot through
that index or a later one. The node's newest may be one already; else one is captured little by little, as the
policy's are, and becomes the node's own: the log is compacted behind it. One capture serves all who wait.
"""

from __future__ import annotations

from typing import Final

from qcore.errors import DeadlineExceeded, Overloaded, QcoreError, Refused
from qcore.replica.events import RequestSnapshot
from qcore.replica.owner import ReplicaContext
from qcore.replica.requests.flow_control import retry_after_ms
from qcore.replica.requests.pending import PendingRequest
from qcore.replica.requests.reads import Reads

#: Requests without an outcome; each may keep a snapshot alive in its host.
MAX_SNAPSHOT_REQUESTS: Final = 16


class SnapshotRequests:
    """The unfinished requests for a copy of one replica's state.

    Args:
        replica: the replica.
        reads: confirms that its state is recent.
        longest_hint_us: the longest hint when to retry, µs.
    """

    def __init__(self, replica: ReplicaContext, reads: Reads, longest_hint_us: int) -> None:
        self._replica = replica
        self._reads = reads
        self._longest_hint_us = longest_hint_us
        #: Those that wait for a quorum, and how much more time, µs, they have from then on.
        self._unconfirmed: dict[PendingRequest, int] = {}
        self._confirmed: list[PendingRequest] = []

    @property
    def waiting(self) -> bool:
        """Whether a snapshot is wanted that does not exist yet."""
        return bool(self._confirmed)

    def begin(self, event: RequestSnapshot) -> None:
        """Take a request; it ends in one `Reply` with the index of the snapshot."""
        replica = self._replica
        confirm_ms = min(event.confirm_ms, event.timeout_ms)
        request = replica.start_request(event.request_id, confirm_ms)
        request.kind = "snapshot"
        more_us = (event.timeout_ms - confirm_ms) * 1000
        self._unconfirmed = {
            other: more for other, more in self._unconfirmed.items() if not other.done
        }
        held = [*self._unconfirmed, *self._confirmed]
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
        """What is applied here holds all that the request must see."""
        request.deadline += self._unconfirmed.pop(request)
        # A snapshot holds one entry at least.
        request.index = max(1, self._replica.applied_index)
        self._confirmed.append(request)

    def settle(self) -> None:
        """Answer those for whom the newest snapshot is enough."""
        snapshot = self._replica.core.snapshot
        covered_index = snapshot.meta.last_included_index if snapshot else 0
        waiting, self._confirmed = self._confirmed, []
        for request in waiting:
            if request.index <= covered_index:
                self._replica.succeed(request, "", covered_index)
            else:
                self._confirmed.append(request)

    def expire(self, request: PendingRequest) -> QcoreError | None:
        """The error for a request of this kind whose deadline came; None if it is not one."""
        if request in self._confirmed:
            self._confirmed.remove(request)
            return DeadlineExceeded("the state was not captured in time: allow more time")
        if self._unconfirmed.pop(request, None) is not None:
            return DeadlineExceeded(
                "no quorum confirmed in time that this node's state is recent: retry, or ask for a stale copy"
            )
        return None
