"""Requests to change the membership: each is rejected, committed, or overwritten by another leader's entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from qcore.compiled_build import register_copies
from qcore.core.effects import ChangeAccepted, ChangeRejected
from qcore.core.events import ChangeMembership
from qcore.errors import ChangeRefused, OutcomeUnknown
from qcore.replica.events import ChangeMembers
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.pending import PendingRequest


class LeadersConfiguration(Protocol):
    """The part of a core that says whether its configuration is committed."""

    @property
    def has_committed_in_term(self) -> bool: ...

    @property
    def membership_index(self) -> int: ...

    @property
    def commit_index(self) -> int: ...


@dataclass
class _Change:
    """A change that began with the configuration at `index`. It ends when a simple one from there on is committed.

    Attributes:
        committed: the entry at `index` is known to be this change's, even if the log is compacted later.
    """

    request: PendingRequest
    index: int
    term: int
    committed: bool = False


class MembershipRequests:
    """The unfinished membership changes of one replica.

    Args:
        replica: the replica.
        longest_timeout_us: the longest election timeout. A voter that has not responded for this long is unreachable.
    """

    def __init__(self, replica: ReplicaContext, longest_timeout_us: int) -> None:
        self._replica = replica
        self._longest_timeout_us = longest_timeout_us
        self._changes: list[_Change] = []

    @property
    def idle(self) -> bool:
        return not self._changes

    def unfinished(self) -> list[PendingRequest]:
        return [change.request for change in self._changes]

    def begin(self, request: PendingRequest, event: ChangeMembers, wall_us: int) -> None:
        """Propose the change, or reject it."""
        if (rejection := self._silent_majority(event)) is not None:
            self._replica.fail(request, rejection)
            return
        change = ChangeMembership(
            event.voters,
            event.learners,
            event.addresses,
            wall_us,
            event.expected_index,
            keys=event.keys,
        )
        if propose_change(self._replica, request, change):
            core = self._replica.core
            self._changes.append(_Change(request, core.membership_index, core.term))

    def advance(self) -> None:
        """After each step: give the finished changes their outcome."""
        self._changes = [change for change in self._changes if not self._finished(change)]

    def expire(self, request: PendingRequest) -> OutcomeUnknown | None:
        """The error for a change whose deadline has come; None if the request is not one of these."""
        for change in self._changes:
            if change.request is request:
                self._changes.remove(change)
                return change_not_committed(self._replica, self._longest_timeout_us)
        return None

    def _silent_majority(self, event: ChangeMembers) -> ChangeRefused | None:
        """The rejection if a majority of the new voters is silent; None if it is not, or if the core rejects anyway.

        Raft would allow the change. But nothing could be committed from then on, not even its rollback: one command
        that promotes a node which is down, or removes the wrong one while another is down, would stop the cluster.
        """
        core = self._replica.core
        voters = sorted({*event.voters})
        answered = {
            voter: core.last_response_at(voter) for voter in voters if voter != core.node_id
        }
        if (
            not core.has_committed_in_term
            or core.membership_index > core.commit_index
            or None in answered.values()
        ):
            return None
        if not voters or event.expected_index not in (None, core.membership_index):
            return None
        since = self._replica.now - self._longest_timeout_us
        silent = [voter for voter, at in answered.items() if at is not None and at < since]
        if 2 * len(silent) < len(voters):
            return None
        return ChangeRefused(
            "unreachable",
            f"{silent} of the voters {voters} do not answer, and without a majority of them nothing can be "
            f"committed: start them first, or leave them out ({_reasons(self._replica, silent)})",
        )

    def _finished(self, change: _Change) -> bool:
        core = self._replica.core
        if core.commit_index < change.index:
            return False
        if not change.committed:
            term = core.term_at(change.index)
            still_leads = core.role == "leader" and core.term == change.term
            if term is None and not still_leads:
                # The entry at this index is not known: a snapshot replaced the log.
                self._replica.fail(
                    change.request,
                    OutcomeUnknown(
                        f"a snapshot replaced the log at index {change.index}: whether the change happened is not "
                        "known: check the members"
                    ),
                )
                return True
            if term is not None and term != change.term:
                self._replica.fail(
                    change.request,
                    ChangeRefused(
                        "overwritten",
                        "another leader took over; the change did not happen: retry",
                    ),
                )
                return True
            change.committed = True
        if core.membership_index > core.commit_index or core.membership.is_joint:
            return False
        self._replica.succeed(change.request, "Success", core.membership_index)
        return True


def not_ready(core: LeadersConfiguration) -> ChangeRefused | None:
    """Why this leader's configuration may still be replaced by an earlier one; None if it is committed."""
    if not core.has_committed_in_term:
        return ChangeRefused(
            "not_ready",
            "this leader has not yet committed an entry in its current term: retry in a moment",
        )
    if core.membership_index > core.commit_index:
        return ChangeRefused(
            "pending",
            f"the change at index {core.membership_index} is not finished: wait for it",
        )
    return None


def propose_change(
    replica: ReplicaContext, request: PendingRequest, change: ChangeMembership
) -> bool:
    """Give a change to the core; return whether the core accepted it. If not, the request fails."""
    outcome = replica.step_core(change)[0]
    if isinstance(outcome, ChangeRejected):
        if outcome.name == "not_leader":
            replica.fail(request, replica.not_leader())
        else:
            replica.fail(request, ChangeRefused(outcome.name, outcome.reason))
        return False
    assert isinstance(outcome, ChangeAccepted), "the outcome of a change comes first"
    return True


def change_not_committed(replica: ReplicaContext, longest_timeout_us: int) -> OutcomeUnknown:
    """The error for a change that was not committed in time. It names the silent members."""
    core = replica.core
    since = replica.now - longest_timeout_us
    answered = {peer: core.last_response_at(peer) for peer in core.membership.members()}
    silent = [peer for peer, at in answered.items() if at is not None and at < since]
    why = f" ({_reasons(replica, silent)})" if silent else ""
    return OutcomeUnknown(
        f"the membership change was not committed in time{why}; it may still finish: check the members"
    )


def _reasons(replica: ReplicaContext, peers: list[int]) -> str:
    return "; ".join(f"node {peer}: {replica.silence_reason(peer)}" for peer in peers)


register_copies(globals())
