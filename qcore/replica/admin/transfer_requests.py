"""Requests to transfer leadership: each ends when it is known which node leads."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.compiled_build import register_copies
from qcore.core.effects import TransferRejected, TransferStarted
from qcore.core.events import TransferLeadership
from qcore.errors import ChangeRefused, TransferFailed, TransferUnknown
from qcore.replica.admin.membership_requests import not_ready
from qcore.replica.leadership import Leadership
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.pending import PendingRequest


@dataclass
class _Transfer:
    """A transfer that began in `term`.

    Attributes:
        to: the voter that is to lead; None if any voter may.
    """

    request: PendingRequest
    to: int | None
    term: int


class TransferRequests:
    """The unfinished leadership transfers of one replica.

    Args:
        replica: the replica.
        longest_timeout_us: the longest election timeout. A voter that has not responded for this long is silent.
    """

    def __init__(self, replica: ReplicaContext, longest_timeout_us: int) -> None:
        self._replica = replica
        self._longest_timeout_us = longest_timeout_us
        self._transfers: list[_Transfer] = []
        self._leadership_checks: list[PendingRequest] = []

    @property
    def idle(self) -> bool:
        return not self._transfers

    def unfinished(self) -> list[PendingRequest]:
        self._leadership_checks = [held for held in self._leadership_checks if not held.done]
        return [*(item.request for item in self._transfers), *self._leadership_checks]

    def begin(self, request: PendingRequest, to: int | None) -> None:
        """Start a transfer to a voter, or to the best one (None); or reject it."""
        replica = self._replica
        if (unreachable := self._unreachable_target(to)) is not None:
            replica.fail(request, unreachable)
            return
        outcome = replica.step_core(TransferLeadership(to))[0]
        if isinstance(outcome, TransferRejected):
            if outcome.name == "not_leader":
                replica.fail(request, replica.not_leader())
            else:
                # An uncommitted configuration may be replaced, and with it the set of voters.
                error = not_ready(replica.core) if outcome.name == "unknown_member" else None
                replica.fail(request, error or ChangeRefused(outcome.name, outcome.reason))
        elif isinstance(outcome, TransferStarted) and outcome.target == replica.core.node_id:
            # This node believes that it leads. Another may lead by now.
            self._leadership_checks.append(request)
            replica.confirm_leadership(request)
        else:
            self._transfers.append(_Transfer(request, to, replica.core.term))

    def advance(self) -> None:
        """After each step: give the finished transfers their outcome."""
        self._transfers = [item for item in self._transfers if not self._finished(item)]

    def expire(self, request: PendingRequest) -> TransferUnknown | None:
        """The error for a transfer whose deadline has come; None if the request is not one of these."""
        for transfer in self._transfers:
            if transfer.request is request:
                self._transfers.remove(transfer)
                return self._unknown()
        return None

    def _unreachable_target(self, voter: int | None) -> ChangeRefused | None:
        """The rejection if this voter is silent and not connected; None if it can be asked.

        A message to such a voter would be dropped. If it counted as sent, the outcome would stay unknown until the
        deadline.
        """
        core = self._replica.core
        if voter is None or core.role != "leader" or not core.membership.is_voter(voter):
            return None
        at, problem = core.last_response_at(voter), self._replica.connection_problem(voter)
        if at is None or problem is None or at >= self._replica.now - self._longest_timeout_us:
            return None
        return ChangeRefused(
            "unreachable",
            f"node {voter} is not connected, and was not asked to take over: {problem}",
        )

    def _finished(self, item: _Transfer) -> bool:
        replica, core = self._replica, self._replica.core
        if core.role == "leader":
            # A voter that was asked and has not rejected may still take over, until the term ends.
            if core.term == item.term and (core.transferring or core.has_unanswered_timeout_now):
                return False
            again = f"this node still leads in term {core.term}"
            why = f"{core.last_transfer_failure}; {again}" if core.term == item.term else again
            replica.fail(item.request, TransferFailed(why, core.node_id, core.term))
            return True
        if core.leader_id is None:
            return False
        if item.to in (None, core.leader_id):
            replica.succeed(item.request, Leadership.of(core).to_json(), core.commit_index)
        else:
            why = f"node {core.leader_id} took over in term {core.term}, not node {item.to}"
            replica.fail(item.request, TransferFailed(why, core.leader_id, core.term))
        return True

    def _unknown(self) -> TransferUnknown:
        """The error for a transfer that has no outcome in time."""
        core = self._replica.core
        if core.role != "leader":
            return TransferUnknown(
                f"this node led before term {core.term} and knows no leader of that term yet: check which node leads"
            )
        state = "is still in progress" if core.transferring else "has not ended"
        return TransferUnknown(
            f"the transfer {state}: this node still leads in term {core.term}, but a voter that it asked to take over "
            "has not answered, and may still take over at any later time: check which node leads"
            if core.has_unanswered_timeout_now
            else f"the transfer {state}: the voter that is to take over is still catching up: check which node leads"
        )


register_copies(globals())
