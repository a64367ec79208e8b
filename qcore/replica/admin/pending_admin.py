"""The admin requests of one replica that have no outcome yet: their common limit, progress and deadlines."""

from __future__ import annotations

from qcore.errors import Overloaded, QcoreError
from qcore.replica.admin.learner_requests import LearnerRequests
from qcore.replica.admin.membership_requests import MembershipRequests
from qcore.replica.admin.transfer_requests import TransferRequests
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import AddLearner, ChangeMembers, TransferLeader
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.flow_control import retry_after_ms
from qcore.replica.requests.pending import PendingRequest


class AdminRequests:
    """The unfinished membership changes, catch-ups and transfers of one replica.

    Args:
        replica: the replica.
        config: its election timeouts, and the limit on unfinished requests.
    """

    def __init__(self, replica: ReplicaContext, config: ReplicaConfig) -> None:
        self._replica = replica
        self._longest_timeout_us = config.raft.election_timeout_max_ms * 1000
        self._max_requests = config.max_admin_requests
        self._changes = MembershipRequests(replica, self._longest_timeout_us)
        self._learners = LearnerRequests(
            replica, config.raft.election_timeout_min_ms * 1000, self._longest_timeout_us
        )
        self._transfers = TransferRequests(replica, self._longest_timeout_us)

    @property
    def idle(self) -> bool:
        """True if `advance` has nothing to do."""
        return self._changes.idle and self._learners.idle and self._transfers.idle

    def change(self, event: ChangeMembers, wall_us: int) -> None:
        """Accept a membership change; it ends in one `Reply`."""
        request = self._replica.start_request(event.request_id, event.timeout_ms)
        if not self._overloaded(request):
            self._changes.begin(request, event, wall_us)

    def add_learner(self, event: AddLearner, wall_us: int) -> None:
        """Accept a request to add a learner; it ends in one `Reply`."""
        request = self._replica.start_request(event.request_id, event.timeout_ms)
        if not self._overloaded(request):
            self._learners.begin(request, event, wall_us)

    def transfer(self, event: TransferLeader) -> None:
        """Accept a leadership transfer; it ends in one `Reply`."""
        request = self._replica.start_request(event.request_id, event.timeout_ms)
        if not self._overloaded(request):
            self._transfers.begin(request, event.to)

    def advance(self) -> None:
        """After each step: give the finished requests their outcome."""
        self._changes.advance()
        self._learners.advance()
        self._transfers.advance()

    def expire(self, request: PendingRequest) -> QcoreError | None:
        """The error for an admin request whose deadline has come; None if it is not one of these.

        If the call extends the deadline, the request continues.
        """
        return (
            self._changes.expire(request)
            or self._learners.expire(request)
            or self._transfers.expire(request)
        )

    def _overloaded(self, request: PendingRequest) -> bool:
        """Reject a request beyond the limit; return whether it was rejected.

        The hint is the earliest deadline of the waiting requests: past rates do not predict how soon a learner catches
        up or a change is committed.
        """
        waiting = [
            *self._changes.unfinished(),
            *self._learners.unfinished(),
            *self._transfers.unfinished(),
        ]
        if len(waiting) < self._max_requests:
            return False
        left_us = min(held.deadline for held in waiting) - self._replica.now
        hint = retry_after_ms(max(0, left_us), self._longest_timeout_us)
        self._replica.fail(
            request,
            Overloaded.because(f"{len(waiting)} changes and transfers are waiting", hint),
        )
        return True
