"""Reads of all kinds: they wait until the state is recent enough, and are then served by the state machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import groupby
from typing import Final

from qcore.core.events import ReadCancelled, ReadRequested
from qcore.errors import DeadlineExceeded, StoreError, TooStale
from qcore.machines.interface import StateMachine, SupportsPermissions
from qcore.machines.permissions import Permissions
from qcore.replica.access.access_table import AccessTable
from qcore.replica.apply.apply_backlog import cost_of, work_counter
from qcore.replica.events import ClientRequest
from qcore.replica.leadership import Leadership
from qcore.replica.machine_results import exception_text, result_of_query
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.forwarder import Forwarder
from qcore.replica.requests.pending import PendingRequest

#: The most that one step serves. A read costs 1, and 1 more for each KiB of its result, and what
#: the machine reports (`SupportsWorkCost`). The last read may exceed the
#: limit. The next steps serve the others, in order.
MAX_READ_COST: Final = 256


class Reads:
    """The reads of one replica that wait until the core lets them be served, by ticket.

    Args:
        replica: the replica.
        forwarder: takes the reads that need the leader at another node.
        machine: executes the queries.
        access: what the users may read.
        gather: see `ReplicaConfig.gather_reads`.
    """

    def __init__(
        self,
        replica: ReplicaContext,
        forwarder: Forwarder,
        machine: StateMachine,
        access: AccessTable,
        *,
        gather: bool = False,
    ) -> None:
        self._gathers = gather
        self._replica = replica
        self._forwarder = forwarder
        self._machine = machine
        self._access = access
        #: The reads of this step for which the core is not asked yet.
        self._unasked: list[PendingRequest] = []
        #: Those for which it is asked, by ticket. All reads of a step have the same, and are one read for the core.
        self._waiting: dict[int, dict[PendingRequest, None]] = {}
        self._last_ticket = 0
        #: Reads that may be served and wait for a step with budget left. The age of a stale read is judged in that
        #: step.
        self._due: deque[tuple[PendingRequest | ClientRequest, int]] = deque()  # and its deadline
        self._work = work_counter(machine)
        self._left = MAX_READ_COST

    def __len__(self) -> int:
        """How many reads wait for the core, or for a step that serves them."""
        return sum(map(len, self._waiting.values())) + len(self._due)

    @property
    def busy(self) -> bool:
        """True if the next step has reads to serve, unless a snapshot is being restored."""
        return bool(self._due)

    def begin_step(self) -> None:
        """A new step begins, with the full budget: serve the reads that are due."""
        self._left = MAX_READ_COST
        while self._due and self._left > 0 and self._replica.readable_index >= 0:
            due, deadline = self._due.popleft()
            if isinstance(due, ClientRequest):
                self._serve_stale(due, late=deadline <= self._replica.now)
            elif not due.done:
                self._serve_due(due)

    def begin(self, request: PendingRequest) -> None:
        """Prepare to ask the core when the read may be served; as a follower, to ask the leader. `ask` does it."""
        if self._replica.core.role != "leader":
            self._forwarder.forward(request)
        else:
            self._unasked.append(request)
            if not self._gathers or _asks_for_lease(request):
                self.ask()  # a lease answers immediately, so these reads gain nothing from waiting

    def ask(self) -> None:
        """Ask for the reads that this step has begun, once for all of them.

        Reads under a lease are another question. Reads keep their order, so each change between the two is one too.
        """
        if self._unasked:
            unasked, self._unasked = self._unasked, []
            for lease, requests in groupby(unasked, _asks_for_lease):
                self._last_ticket += 1
                reads = self._waiting[self._last_ticket] = dict.fromkeys(requests)
                for request in reads:
                    request.ticket = self._last_ticket
                self._replica.step_core(ReadRequested(self._last_ticket, lease=lease))
        self._forwarder.ask()

    def ready(self, ticket: int) -> None:
        """The reads may be served: everything that they must see is applied."""
        for request in self._waiting.pop(ticket, ()):
            self.serve(request)

    def rejected(self, ticket: int) -> None:
        """This node does not lead, or no longer does: the leader may serve the reads."""
        for request in self._waiting.pop(ticket, ()):
            self._forwarder.forward(request)

    def forget(self, request: PendingRequest) -> None:
        """The request has its outcome: once all of its reads have one, the core may forget them."""
        reads = self._waiting.get(request.ticket)
        if reads is not None and request in reads:
            del reads[request]
            if not reads:
                del self._waiting[request.ticket]
                self._replica.step_core(ReadCancelled(request.ticket))

    def begin_stale(self, event: ClientRequest) -> None:
        """Serve the read from the state of this node, if that is known to be fresh enough."""
        if self._left > 0:
            self._serve_stale(event)
        else:
            self._due.append((event, self._replica.now + event.timeout_ms * 1000))

    def _serve_stale(self, event: ClientRequest, *, late: bool = False) -> None:
        replica = self._replica
        # It waits for no other node, so it needs no deadline and does not count against the limits.
        request = PendingRequest(
            event.request_id, None, "read", event.payload, replica.now, user=event.user
        )
        if self._rejects(request):
            return
        if late:
            replica.fail(
                request, DeadlineExceeded("the node could not answer the read in time: retry")
            )
            return
        fresh_as_of = self._fresh_as_of()
        age_us = None if fresh_as_of is None else replica.now - fresh_as_of
        if age_us is not None and age_us <= event.max_staleness_ms * 1000:
            self._serve_now(request)
        else:
            age = "of unknown age" if age_us is None else f"up to {age_us // 1000} ms old"
            replica.fail(
                request,
                TooStale(
                    f"the state here is {age}, {event.max_staleness_ms} ms are allowed: ask another node, or "
                    "ask for a linearizable read"
                ),
            )

    def _fresh_as_of(self) -> int | None:
        """The moment up to which the state is known to be complete, µs; None if there is none."""
        replica = self._replica
        # The state lacks the entries that are committed but not applied, however fresh the core is.
        return None if replica.has_apply_backlog else replica.core.fresh_as_of(replica.now)

    def serve(self, request: PendingRequest) -> None:
        """Serve a read from the current state; without budget, from a later state in one of the next steps."""
        replica = self._replica
        if request.kind == "snapshot":
            replica.snapshot_confirmed(request)
            return
        if request.kind == "leadership_check":
            replica.succeed(
                request, Leadership.of(replica.core).to_json(), replica.core.commit_index
            )
            return
        if request.kind == "read_index":
            replica.succeed(request, "", replica.applied_index)
            return
        if self._left > 0:
            self._serve_due(request)
        else:
            self._due.append((request, request.deadline))

    def _serve_due(self, request: PendingRequest) -> None:
        if self._rejects(request):
            return
        if request.kind == "watch":
            self._left -= 1
            self._replica.watch_confirmed(request)
        else:
            self._serve_now(request)

    def _rejects(self, request: PendingRequest) -> bool:
        """Whether this node must not answer from its state. Then the request has failed."""
        error = self._replica.state_error()
        if error is not None:
            self._replica.fail(request, error)
        return error is not None

    def _serve_now(self, request: PendingRequest) -> None:
        replica = self._replica
        self._left -= 1
        denial = self._access.denial(request.user, "read") if self._access.active else None
        if denial is not None:
            replica.fail(request, denial)
            return
        try:
            result = result_of_query(self._answer(request))
        except StoreError as error:
            result = (
                error if exception_text(error) == str(error) else StoreError(exception_text(error))
            )
        except Exception as error:  # noqa: BLE001 - user code; a read changes nothing
            result = StoreError(
                f"the state machine failed on the query: {type(error).__name__}: {exception_text(error)}"
            )
        self._left -= self._work()
        if isinstance(result, str):
            self._left -= cost_of(result)
            replica.succeed(request, result, replica.applied_index)
        else:
            replica.fail(request, result)

    def _answer(self, request: PendingRequest) -> object:
        machine, permissions = self._machine, self._access.permissions_of(request.user)
        if permissions is not None and isinstance(machine, SupportsPermissions):
            query_as: Callable[[str, Permissions], object] = machine.query_as
            return query_as(request.payload, permissions)
        query: Callable[[str], object] = machine.query
        return query(request.payload)


def _asks_for_lease(request: PendingRequest) -> bool:
    return request.kind == "lease_read"
