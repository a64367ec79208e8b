"""Admission: which requests a replica accepts, and the errors for requests that time out or lose their leader."""

from __future__ import annotations

from qcore.core.effects import ProposalRejected
from qcore.core.text_size import utf8_length
from qcore.errors import (
    DeadlineExceeded,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    QcoreError,
    TooLarge,
    TransferUnknown,
)
from qcore.replica.config import ReplicaConfig
from qcore.replica.requests.disk_space import writes_to_log
from qcore.replica.requests.flow_control import DrainMeter, FlowControl, retry_after_ms
from qcore.replica.requests.pending import PendingRequest


class RequestAdmission:
    """The limits of one replica: the size of a request, and the number and bytes of the waiting requests.

    Args:
        config: the limits.
        now: µs on the clock that later calls use.
    """

    def __init__(self, config: ReplicaConfig, now: int) -> None:
        self._config = config
        self._longest_us = config.raft.election_timeout_max_ms * 1000
        self._flow = FlowControl(
            config.max_pending_requests, config.max_pending_bytes, self._longest_us, now
        )
        self._committed_bytes = DrainMeter(now)

    @property
    def waiting(self) -> int:
        """How many accepted requests have no outcome yet."""
        return self._flow.requests

    def take(self, request: PendingRequest, now: int) -> QcoreError | None:
        """Accept the request; otherwise return the reason for its rejection."""
        size, limit = utf8_length(request.payload), self._config.max_command_bytes
        if size > limit:
            return TooLarge(f"the request has {size} bytes, the limit is {limit}: split it")
        rejection = self._flow.rejection(size, now)
        if rejection is None:
            self._flow.take(size)
            request.size = size
        return rejection

    def release(self, request: PendingRequest, now: int) -> None:
        """The request has its outcome. Its deadline may stay in memory for a while; its payload must not."""
        if request.size is not None:
            self._flow.release(request.size, now)
            request.size = None
        request.payload = ""
        request.done = True

    def committed(self, size: int, now: int) -> None:
        """A write of `size` bytes was committed."""
        self._committed_bytes.drained(size, now)

    def overload_error(
        self, outcome: ProposalRejected, transfer_deadline: int | None, now: int
    ) -> Overloaded:
        """The error for writes that the core rejected, with a hint when to retry.

        During a transfer the hint is the rest of the transfer's time: after that, either another node leads or this one
        continues. Otherwise it is the time in which the uncommitted entries shrink by half of their limit, at the
        rate of the last commits (see `qcore.replica.requests.flow_control`).
        """
        if outcome.reason == "transferring":
            why = "leadership is being transferred"
            left_us = None if transfer_deadline is None else max(0, transfer_deadline - now)
        else:
            why = "too much is not committed yet"
            half = self._config.raft.max_uncommitted_bytes // 2
            left_us = self._committed_bytes.time_for(half, now)
        return Overloaded.because(why, retry_after_ms(left_us, self._longest_us))


def expiry_error(request: PendingRequest) -> QcoreError:
    """The error for a request whose deadline has come without an outcome."""
    if writes_to_log(request.kind):
        return OutcomeUnknown(
            "the command was not committed in time: it may or may not take effect later"
        )
    if request.kind == "leadership_check":
        return TransferUnknown(
            "no quorum confirmed in time that this node leads: check which node leads now"
        )
    return DeadlineExceeded(
        "no quorum confirmed the read in time: retry, or look at the cluster's health"
    )


def lost_leader_error(request: PendingRequest) -> QcoreError:
    """The error for a request at a node that lost its leader and found no other one in time."""
    if writes_to_log(request.kind):
        return OutcomeUnknown(
            "this node lost its leader and found no other in time: the command may or may not take effect"
        )
    return NotLeader()
