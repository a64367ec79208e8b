"""Requests to reinstall a member: a new snapshot of the leader replaces its state and its log up to there.

See `qcore.core.log.reinstall` for why this is safe.
"""

from __future__ import annotations

from qcore.core.effects import TransferRejected
from qcore.core.events import Reinstall, TransferLeadership
from qcore.errors import ChangeRefused, NotLeader, OutcomeUnknown, QcoreError
from qcore.replica.divergence.containment import COMPARED_SINCE_RULES
from qcore.replica.events import ReinstallMember
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.pending import PendingRequest


class Reinstalls:
    """The unfinished requests to reinstall a member.

    Args:
        replica: the replica.
    """

    def __init__(self, replica: ReplicaContext) -> None:
        self._replica = replica
        #: By member: the requests, and the term in which the first began. An operator whose command was interrupted
        #: repeats it, so a later request joins.
        self._waiting: dict[int, tuple[list[PendingRequest], int]] = {}

    @property
    def idle(self) -> bool:
        """True if there is no such request."""
        return not self._waiting

    def begin(self, event: ReinstallMember) -> None:
        """Accept a request; it ends in one `Reply`."""
        replica = self._replica
        request = replica.start_request(event.request_id, event.timeout_ms)
        core = replica.core
        if core.role != "leader":
            replica.fail(request, replica.not_leader())
            return
        if core.contained or event.node_id == core.node_id:
            replica.fail(request, self._hand_over())
            return
        problem = self._problem(event.node_id)
        if problem is not None:
            replica.fail(request, problem)
            return
        requests, _ = self._waiting.setdefault(event.node_id, ([], core.term))
        requests.append(request)
        if len(requests) == 1:
            replica.step_core(Reinstall(event.node_id))

    def _hand_over(self) -> QcoreError:
        """Let another node lead, because this one is to be reinstalled, or is diverged itself; the error meanwhile."""
        core = self._replica.core
        if not core.transferring:
            outcome = self._replica.step_core(TransferLeadership(None))[0]
            if isinstance(outcome, TransferRejected):
                return ChangeRefused(
                    "leader", f"node {core.node_id} leads and cannot hand over: {outcome.reason}"
                )
        return NotLeader(
            text=f"node {core.node_id} leads and hands over first: retry once another node leads"
        )

    def _problem(self, node_id: int) -> ChangeRefused | None:
        core = self._replica.core
        if node_id not in core.membership.members():
            return ChangeRefused("unknown_member", f"node {node_id} is no member of the cluster")
        if core.rules < COMPARED_SINCE_RULES:
            return ChangeRefused(
                "old_rules",
                f"a member runs an older qcore: upgrade all members first, so that the apply rules are "
                f"{COMPARED_SINCE_RULES} (they are {core.rules})",
            )
        return None

    @property
    def needs_snapshot(self) -> bool:
        """Whether a member waits for a snapshot that can be taken now and does not exist yet."""
        if not self._waiting:
            return False
        core = self._replica.core
        snapshot = core.snapshot
        covered = snapshot.meta.last_included_index if snapshot is not None else 0
        throughs = [core.reinstall_through(node_id) for node_id in self._waiting]
        return any(
            through is not None and covered < through <= self._replica.applied_index
            for through in throughs
        )

    def advance(self) -> None:
        """End the requests that are decided."""
        core = self._replica.core
        covered = core.snapshot.meta.last_included_index if core.snapshot is not None else 0
        for node_id, (requests, term) in [*self._waiting.items()]:
            why = ""
            if core.role != "leader" or core.term != term:
                why = "this node no longer leads"
            elif node_id not in core.membership.members():
                why = "it is no longer a member"
            elif core.reinstall_through(node_id) is not None:
                continue
            del self._waiting[node_id]
            for request in requests:
                if why:
                    self._replica.fail(request, _unknown(node_id, why))
                else:
                    self._replica.succeed(request, str(covered), covered)

    def expire(self, request: PendingRequest) -> QcoreError | None:
        """The error for such a request whose deadline has come; None if the request is not one of these."""
        for node_id, (requests, _) in self._waiting.items():
            if request in requests:
                requests.remove(request)
                if not requests:
                    del self._waiting[node_id]
                    self._replica.step_core(Reinstall(node_id, cancel=True))
                return _unknown(node_id, "it did not install the snapshot in time")
        return None


def _unknown(node_id: int, why: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"node {node_id} may or may not be reinstalled, because {why}: look at its metrics, and retry"
    )
