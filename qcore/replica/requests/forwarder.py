"""Requests that need the leader at another node: forwarded requests and follower reads."""

from __future__ import annotations

import heapq
import random

from qcore.errors import NotLeader, OutcomeUnknown
from qcore.replica.messages import Forward, ForwardResponse, ReadIndex, ReadIndexResponse
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.disk_space import writes_to_log
from qcore.replica.requests.forwarded_errors import error_of_response
from qcore.replica.requests.pending import PendingRequest


class Forwarder:
    """The requests of one replica that wait for the leader's response, by ticket.

    Args:
        replica: the replica.
        rng: draws the first ticket, so that a response to a ticket from before a restart matches nothing.
        gather_reads: see `ReplicaConfig`.
    """

    def __init__(
        self, replica: ReplicaContext, rng: random.Random, *, gather_reads: bool = False
    ) -> None:
        self._replica = replica
        self._gathers = gather_reads
        self._forwarded: dict[int, PendingRequest] = {}
        #: The reads of this step for which the leader is not asked yet, with their tickets.
        self._unasked: list[tuple[int, PendingRequest]] = []
        #: Those for which it is asked, by read id and ticket. They are also among the forwarded requests.
        self._asked: dict[int, dict[int, PendingRequest]] = {}
        #: Follower reads, as a heap of (index to wait for, ticket, request).
        self._reads: list[tuple[int, int, PendingRequest]] = []
        self._reads_done = 0  # how many of these have expired
        self._last_ticket = rng.getrandbits(48)

    def __len__(self) -> int:
        """How many requests wait for the leader."""
        return len(self._forwarded)

    def forward(self, request: PendingRequest) -> None:
        """Forward a client's request to the leader; reject a peer's request with the leader's address.

        For a read that this node will serve, `ask` asks the leader.
        """
        replica = self._replica
        leader_id = replica.core.leader_id
        if (
            leader_id is None
            or leader_id == replica.core.node_id
            or request.from_peer
            or request.kind == "leadership_check"  # only this node can confirm that it leads
        ):
            replica.fail(request, replica.not_leader())
            return
        self._last_ticket += 1
        request.forwarded_to = leader_id
        request.ticket = self._last_ticket
        self._forwarded[request.ticket] = request
        if request.kind == "follower_read" or request.kind == "snapshot" or request.kind == "watch":
            self._unasked.append((request.ticket, request))
            if not self._gathers:
                self.ask()
        else:
            assert request.kind != "read_index", "a peer's request is never passed on"
            timeout_ms = self._timeout_ms(request)
            forward = Forward(
                request.ticket, request.kind, request.payload, timeout_ms, request.user
            )
            replica.send(leader_id, forward)

    def ask(self) -> None:
        """Ask the leader for the index of the reads that this step has begun, once for all of them."""
        if not self._unasked:
            return
        unasked, self._unasked = self._unasked, []
        by_leader: dict[int, dict[int, PendingRequest]] = {}
        for ticket, request in unasked:
            if request.ticket == ticket and self._forwarded.get(ticket) is request:
                assert request.forwarded_to is not None, "it was forwarded"
                by_leader.setdefault(request.forwarded_to, {})[ticket] = request
        for leader_id, reads in by_leader.items():
            read_id = next(iter(reads))
            for request in reads.values():
                request.read_id = read_id
            self._asked[read_id] = reads
            timeout_ms = max(map(self._timeout_ms, reads.values()))
            self._replica.send(leader_id, ReadIndex(read_id, timeout_ms))

    def _timeout_ms(self, request: PendingRequest) -> int:
        return max(1, (request.deadline - self._replica.now) // 1000)

    def _take(self, ticket: int) -> PendingRequest | None:
        """Remove and return the request with this ticket; None if it waits no longer."""
        request = self._forwarded.pop(ticket, None)
        if request is not None and request.read_id:
            reads = self._asked[request.read_id]
            del reads[ticket]
            if not reads:
                del self._asked[request.read_id]
            request.read_id = 0
        return request

    def forget(self, request: PendingRequest) -> None:
        """The request has its outcome: a response of the leader would come too late."""
        if self._forwarded.get(request.ticket) is request:
            self._take(request.ticket)
        elif request.kind in ("follower_read", "snapshot", "watch"):
            # Its index may never be applied here. Drop such reads before they pile up.
            self._reads_done += 1
            if self._reads_done > 64 + len(self._reads) // 2:
                self._reads = [
                    held for held in self._reads if not held[2].done and held[2] is not request
                ]
                heapq.heapify(self._reads)
                self._reads_done = 0

    def request_of(self, ticket: int) -> int | None:
        """The driver's number of the request that was forwarded with a ticket; None if it waits no longer."""
        request = self._forwarded.get(ticket)
        return None if request is None else request.request_id

    def on_forward_response(self, response: ForwardResponse) -> None:
        request = self._take(response.forward_id)
        if request is None:
            return  # too late: the client has its reply, an unknown outcome
        if response.result is not None:
            self._replica.succeed(request, response.result, response.index)
        else:
            self._replica.fail(request, error_of_response(response))

    def on_read_index_response(self, response: ReadIndexResponse) -> None:
        reads = self._asked.pop(response.read_id, {})  # none: too late
        for ticket, request in reads.items():
            del self._forwarded[ticket]
            request.read_id = 0
            if response.index is not None:
                heapq.heappush(self._reads, (response.index, ticket, request))
            else:
                self._replica.fail(request, error_of_response(response))
        self.on_applied()

    def leader_changed(self, leader_id: int) -> None:
        """Another node leads: the old leader may never respond.

        Requests that may be repeated go to the new leader. A write may be in the old leader's log, so it waits a little
        longer for the response.
        """
        for ticket, request in list(self._forwarded.items()):
            if request.forwarded_to == leader_id:
                continue
            if request.kind in ("write", "access"):
                self._replica.shorten_deadline(request)
            else:
                self._take(ticket)
                self._replica.resubmit(request)

    def waiting(self) -> list[PendingRequest]:
        """The requests that wait for the leader's response."""
        return list(self._forwarded.values())

    def on_applied(self) -> None:
        """Serve the follower reads whose index has been applied."""
        while self._reads and self._reads[0][0] <= self._replica.readable_index:
            request = heapq.heappop(self._reads)[2]
            if request.done:
                self._reads_done = max(0, self._reads_done - 1)
            else:
                self._replica.serve(request)

    def on_unreachable(self, peer_id: int) -> None:
        """The connection to `peer_id` broke: the requests forwarded to it get no response."""
        lost = [key for key, held in self._forwarded.items() if held.forwarded_to == peer_id]
        for request in filter(None, map(self._take, lost)):
            if not writes_to_log(request.kind):
                self._replica.fail(request, NotLeader())
            else:
                self._replica.fail(
                    request,
                    OutcomeUnknown(
                        f"the connection to the leader, node {peer_id}, broke: the command may or may not take effect"
                    ),
                )
