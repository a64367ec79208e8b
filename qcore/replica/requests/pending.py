"""Requests that have no outcome yet, and their deadlines."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Final, Literal

from qcore.compiled_build import register_copies
from qcore.core.effects import (
    ChangeAccepted,
    ChangeRejected,
    Effect,
    ProposalAccepted,
    ProposalRejected,
    TransferRejected,
    TransferStarted,
)
from qcore.core.raft_server import NEVER
from qcore.replica.messages import RequestKind

#: The kinds of request within a replica. The last four are not kinds on the wire: a peer's `ReadIndex`, a
#: `RequestSnapshot`, a `BeginWatch`, and the confirmation that this node leads.
AnyRequestKind = RequestKind | Literal["read_index", "snapshot", "watch", "leadership_check"]
#: So many requests may be finished and still in memory.
_SWEEP_ABOVE: Final = 1024


@dataclass(eq=False, init=False)
class PendingRequest:
    """One request on its way, from a client of this node or forwarded by a peer.

    Attributes:
        request_id: the driver's number of a local request, or the peer's `forward_id`.
        from_peer: the peer that forwarded it; None for a local request.
        kind, payload: the request itself.
        user: the name of the client's user; empty for none.
        deadline: when waiting ends, µs.
        index, term: where a write was appended; 0 before that.
        ticket: the key under which a read or a forwarded request waits; 0 before that.
        read_id: the number of the `ReadIndex` that asks the leader for this read and others; 0 for none.
        forwarded_to: the leader to which the request was forwarded, if any.
        size: the bytes that count in `qcore.replica.requests.flow_control.FlowControl`; None if the request does not
            count there.
        done: the request has its outcome.
    """

    request_id: int
    from_peer: int | None
    kind: AnyRequestKind
    payload: str = field(repr=False)
    deadline: int
    index: int = 0
    term: int = 0
    ticket: int = 0
    read_id: int = 0
    forwarded_to: int | None = None
    size: int | None = None
    done: bool = False
    user: str = ""

    def __init__(
        self,
        request_id: int,
        from_peer: int | None,
        kind: AnyRequestKind,
        payload: str,
        deadline: int,
        user: str = "",
    ) -> None:
        self.request_id = request_id
        self.from_peer = from_peer
        self.kind = kind
        self.payload = payload
        self.deadline = deadline
        self.index = self.term = self.ticket = self.read_id = 0
        self.forwarded_to = None
        self.size = None
        self.done = False
        self.user = user


class RequestDeadlines:
    """Requests by deadline. A finished request is dropped when its deadline comes, or by a sweep."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, PendingRequest]] = []
        # The first one of the heap and its deadline there, because each step asks twice.
        self._first: PendingRequest | None = None
        self._first_deadline = NEVER
        self._sequence = 0
        self._sweep_above = _SWEEP_ABOVE

    def add(self, request: PendingRequest) -> None:
        """Add a request, or add it again after its deadline was changed."""
        self._sequence += 1
        heapq.heappush(self._heap, (request.deadline, self._sequence, request))
        self._note_first()

    def next_deadline(self) -> int:
        """The earliest deadline of an unfinished request, µs, or `NEVER`."""
        first = self._first
        if first is not None and first.done:
            heap = self._heap
            while heap and heap[0][2].done:
                heapq.heappop(heap)
            self._note_first()
        return self._first_deadline

    def expired(self, now: int) -> list[PendingRequest]:
        """Remove and return the unfinished requests whose deadline has come, earliest first."""
        due: list[PendingRequest] = []
        while self.next_deadline() <= now:
            due.append(heapq.heappop(self._heap)[2])
            self._note_first()
        return due

    def sweep(self) -> None:
        """Drop finished requests once there are many; this bounds the memory.

        The next sweep waits until there are twice as many requests as this one leaves. So its cost for each request is
        constant, however many wait.
        """
        if len(self._heap) > self._sweep_above:
            self._heap = [item for item in self._heap if not item[2].done]
            heapq.heapify(self._heap)
            self._note_first()
            self._sweep_above = _SWEEP_ABOVE + 2 * len(self._heap)

    def _note_first(self) -> None:
        if self._heap:
            self._first_deadline, _, self._first = self._heap[0]
        else:
            self._first, self._first_deadline = None, NEVER


def is_outcome(effect: Effect) -> bool:
    """Whether the effect says what became of a request to the core. The part that made the request has handled it."""
    # A tuple: the compiler calls `isinstance` for a union, and makes the union again each time.
    return isinstance(
        effect,
        (
            ProposalAccepted,
            ProposalRejected,
            ChangeAccepted,
            ChangeRejected,
            TransferStarted,
            TransferRejected,
        ),
    )


register_copies(globals())
