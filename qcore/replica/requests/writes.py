"""Writes: gathered into batches, appended by the leader, and finished when their entries are applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qcore.core.effects import ProposalAccepted, ProposalRejected
from qcore.core.entry import Entry, EntryKind
from qcore.core.events import Bootstrap, Propose
from qcore.core.version import ClusterVersion
from qcore.errors import ConfigError, OutcomeUnknown, ProposalDropped, QcoreError
from qcore.replica.disk_window import DiskWindow
from qcore.replica.events import InitCluster
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.admission import RequestAdmission
from qcore.replica.requests.forwarder import Forwarder
from qcore.replica.requests.pending import AnyRequestKind, PendingRequest
from qcore.replica.requests.storage_quotas import StorageQuotas

#: The most that one step appends to the log, in bytes of requests; a single larger request goes alone. This also bounds
#: the work that follows in the same step.
MAX_STEP_BYTES: Final = 1024 * 1024
_KINDS: Final[Mapping[AnyRequestKind, EntryKind]] = {
    "write": "command",
    "session": "session",
    "access": "access",
}


class Writes:
    """The writes of one replica that have no outcome yet, except for those that were forwarded.

    Args:
        replica: the replica.
        forwarder: passes the writes on while another node leads.
        admission: measures how fast writes commit.
        disk_window: limits the bytes on their way to the disk.
        quotas: limit what commands may add to the state and the log.
    """

    def __init__(
        self,
        replica: ReplicaContext,
        forwarder: Forwarder,
        admission: RequestAdmission,
        disk_window: DiskWindow,
        quotas: StorageQuotas,
    ) -> None:
        self._replica = replica
        self._forwarder = forwarder
        self._admission = admission
        self._disk_window = disk_window
        self._quotas = quotas
        self._batch: list[PendingRequest] = []
        self._appended: dict[int, PendingRequest] = {}  # by log index

    def __len__(self) -> int:
        """How many writes are in the log and have no outcome."""
        return len(self._appended)

    @property
    def can_propose(self) -> bool:
        """True if writes wait to be appended, and the disk is ready for them."""
        return bool(self._batch) and not self._must_wait_for_disk

    def appended(self) -> list[PendingRequest]:
        """The writes in the log that have no outcome, in log order."""
        return list(self._appended.values())

    def add(self, request: PendingRequest) -> None:
        """Append the request with the next batch."""
        self._batch.append(request)

    def forget(self, request: PendingRequest) -> None:
        """The request gets its outcome without its entry."""
        if self._appended.get(request.index) is request:
            del self._appended[request.index]

    def initialise(
        self,
        request: PendingRequest,
        event: InitCluster,
        wall_us: int,
        version: ClusterVersion | None,
    ) -> None:
        """Begin a cluster; the request ends when the first entry is applied."""
        replica = self._replica
        stamp_us = 0 if event.same_everywhere else wall_us
        try:
            effects = replica.core.step(
                Bootstrap(event.membership, stamp_us, version), replica.now, wall_us
            )
        except ConfigError as error:
            replica.fail(request, error)
            return
        request.index = request.term = 1
        self._appended[1] = request
        replica.carry_out(effects)

    def propose(self, wall_us: int) -> None:
        """Append the next batch, or forward it if another node leads.

        Args:
            wall_us: the time stamp of the entries.
        """
        if not self._batch:
            return
        batch = self._next_batch()
        if not batch:
            return
        replica, core = self._replica, self._replica.core
        if core.role != "leader":
            for request in batch:
                self._forwarder.forward(request)
            return
        if (diverged := replica.state_error()) is not None:
            for request in batch:  # they waited for a leader, and this node became it
                replica.fail(request, diverged)
            return
        batch = self._quotas.admit(batch)
        if not batch:
            return
        only_writes, has_users = True, False
        for request in batch:
            only_writes = only_writes and request.kind == "write"
            has_users = has_users or request.user != ""
        kinds: list[EntryKind] | None = None
        if not only_writes:
            kinds = [_KINDS[request.kind] for request in batch]
        users = [request.user for request in batch] if has_users else None
        proposal = Propose([request.payload for request in batch], wall_us, kinds, users)
        effects = core.step(proposal, replica.now, wall_us)
        outcome = effects[0]
        if isinstance(outcome, ProposalAccepted):
            for position, request in enumerate(batch):
                request.index = outcome.first_index + position
                request.term = outcome.term
                self._appended[request.index] = request
        else:
            assert isinstance(outcome, ProposalRejected), "the outcome of a proposal comes first"
            error = self._admission.overload_error(outcome, core.transfer_deadline, replica.now)
            for request in batch:
                replica.fail(request, error)
        replica.carry_out(effects)

    def on_applied(self, entry: Entry, result: str | None, error: QcoreError | None) -> None:
        """An entry was applied: finish the request that waits at its index."""
        request = self._appended.pop(entry.index, None)
        if request is None:
            return
        if request.term != entry.term:
            error = ProposalDropped(
                f"another leader's entry took index {entry.index}; the command was not applied: send it again"
            )
        if error is not None:
            self._replica.fail(request, error)
        else:
            self._admission.committed(entry.size_bytes(), self._replica.now)
            self._replica.succeed(request, result or "", entry.index)

    def abandon(self, error: QcoreError) -> None:
        """The state here is wrong, and so would be the results that it gives: the outcomes are unknown."""
        appended, self._appended = self._appended, {}
        for request in appended.values():
            self._replica.fail(
                request, OutcomeUnknown(f"the command takes effect or is lost, and {error}")
            )

    def on_replaced(self, index: int) -> None:
        """A snapshot replaces the log through `index`: the outcomes of its writes are unknown."""
        for covered in [at for at in self._appended if at <= index]:
            self._replica.fail(
                self._appended.pop(covered),
                OutcomeUnknown(
                    f"a snapshot replaced the log at index {covered}: whether the command is part of it is not known"
                ),
            )

    @property
    def _must_wait_for_disk(self) -> bool:
        return self._disk_window.full and self._replica.core.role == "leader"

    def _next_batch(self) -> list[PendingRequest]:
        """Remove and return the oldest writes that wait, at most as many bytes as one step may append."""
        batch: list[PendingRequest] = []
        size = 0
        if self._must_wait_for_disk:
            return batch  # the next `WriteDurable` brings the next step
        for request in self._batch:
            if batch and size + (request.size or 0) > MAX_STEP_BYTES:
                break
            size += request.size or 0
            batch.append(request)
        del self._batch[: len(batch)]
        # A request may have expired before its turn.
        return [request for request in batch if not request.done]
