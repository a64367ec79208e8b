"""Membership changes, learners that catch up, and transfers: requests that outlast one log entry."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.core.effects import (
    ChangeAccepted,
    ChangeRejected,
    Effect,
    TransferRejected,
    TransferStarted,
)
from qcore.core.events import ChangeMembership, TransferLeadership
from qcore.errors import (
    ChangeRefused,
    NotCaughtUp,
    OutcomeUnknown,
    Overloaded,
    QcoreError,
    TransferFailed,
    TransferUnknown,
)
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import AddLearner, ChangeMembers, TransferLeader
from qcore.replica.leadership import Leadership
from qcore.replica.owner import ReplicaContext
from qcore.replica.requests.flow_control import retry_after_ms
from qcore.replica.requests.pending import PendingRequest

#: Rounds in which a learner must come within an election timeout of the leader (dissertation 4.2.1).
CATCH_UP_ROUNDS = 10


@dataclass(slots=True)
class _Change:
    """A change whose first configuration is at `index`: done when a simple one from there on is committed.

    `stands` once that entry is known to be the committed one: the log may be compacted before the change is done.
    """

    request: PendingRequest
    index: int
    term: int
    stands: bool = False


@dataclass(slots=True)
class _CatchUp:
    """A learner on its way. Each round replicates what the log held when the round began."""

    request: PendingRequest
    node_id: int
    goal: int
    began_at: int
    rounds: int = 1


@dataclass(slots=True)
class _LearnerChange:
    """What a request changed for a learner, and is undone if the learner does not answer as long as requests wait.

    Attributes:
        term: in which this node led and made the change.
        before: the address that the learner had before; None: it was no member.
    """

    term: int
    before: str | None


@dataclass(slots=True)
class _Transfer:
    """A transfer to another voter that began in `term`; `to` is None if the best one was asked for."""

    request: PendingRequest
    to: int | None
    term: int


@dataclass(slots=True)
class _LearnerRollback:
    """A learner never answered, and what was changed for it is being undone by the configuration at `index`.

    `why` it never answered; `done` is what to say once that is committed, `begun` until then.
    """

    request: PendingRequest
    index: int
    term: int
    why: str
    done: str
    begun: str


class AdminRequests:
    """The unfinished changes, catch-ups and transfers of one replica."""

    def __init__(self, replica: ReplicaContext, config: ReplicaConfig) -> None:
        self._replica = replica
        self._election_timeout_us = config.raft.election_timeout_min_ms * 1000
        self._longest_timeout_us = config.raft.election_timeout_max_ms * 1000
        self._max_requests = config.max_admin_requests
        self._changes: list[_Change] = []
        self._catch_ups: list[_CatchUp] = []
        self._learner_changes: dict[int, _LearnerChange] = {}  # of learners for which requests wait
        self._rollbacks: list[_LearnerRollback] = []
        self._transfers: list[_Transfer] = []
        self._leadership_checks: list[PendingRequest] = []

    @property
    def idle(self) -> bool:
        return not (self._changes or self._catch_ups or self._rollbacks or self._transfers)

    # -- requests --------------------------------------------------------------------------------

    def change(self, event: ChangeMembers, wall_us: int) -> None:
        request = self._replica.start_request(event.request_id, event.timeout_ms)
        if self._overloaded(request):
            return
        if (silent := self._silent_majority(event)) is not None:
            self._replica.fail(request, silent)
            return
        self._begin_change(
            request,
            ChangeMembership(
                event.voters, event.learners, event.addresses, wall_us, event.expected_index
            ),
        )

    def add_learner(self, event: AddLearner, wall_us: int) -> None:
        replica = self._replica
        request = replica.start_request(event.request_id, event.timeout_ms)
        if self._overloaded(request):
            return
        if replica.core.role != "leader":
            # Its configuration may be an old one: it is not for this node to say who is a voter.
            replica.fail(request, replica.not_leader())
            return
        membership = replica.core.membership
        is_voter = membership.is_voter(event.node_id)
        not_ready = self._not_ready()
        if not_ready is not None and (is_voter or not_ready.name == "not_ready"):
            replica.fail(request, not_ready)
            return
        if is_voter:
            replica.fail(
                request, ChangeRefused("is_voter", f"node {event.node_id} is a voter already")
            )
            return
        is_learner = event.node_id in membership.learners
        present = membership.address_of(event.node_id)
        if not is_learner or present != event.address:
            learner_change = _LearnerChange(replica.core.term, present if is_learner else None)
            held = self._learner_changes.get(event.node_id)
            if is_learner and held is not None and not replica.core.has_answered(event.node_id):
                learner_change = (
                    held  # never answered there either: what was before that comes back
                )
            change = ChangeMembership(
                membership.voters,
                tuple(sorted({*membership.learners, event.node_id})),
                ((event.node_id, event.address),),
                wall_us,
            )
            if not self._try_change(request, change):
                return
            if learner_change.before == event.address:
                self._learner_changes.pop(event.node_id, None)  # that was the change back
            else:
                self._learner_changes[event.node_id] = learner_change
        self._catch_ups.append(
            _CatchUp(request, event.node_id, replica.core.last_log_index, replica.now)
        )

    def transfer(self, event: TransferLeader) -> None:
        replica = self._replica
        request = replica.start_request(event.request_id, event.timeout_ms)
        if self._overloaded(request):
            return
        if (unreachable := self._unreachable_target(event.to)) is not None:
            replica.fail(request, unreachable)
            return
        outcome = _first_outcome(replica.step_core(TransferLeadership(event.to)))
        if isinstance(outcome, TransferRejected):
            if outcome.name == "not_leader":
                replica.fail(request, replica.not_leader())
            else:
                # Who is a voter may still change back, if it is not committed.
                not_ready = self._not_ready() if outcome.name == "unknown_member" else None
                replica.fail(request, not_ready or ChangeRefused(outcome.name, outcome.reason))
        elif isinstance(outcome, TransferStarted) and outcome.target == replica.core.node_id:
            # It believes that it leads. Another may do so by now.
            self._leadership_checks.append(request)
            replica.confirm_leadership(request)
        else:
            self._transfers.append(_Transfer(request, event.to, replica.core.term))

    def _overloaded(self, request: PendingRequest) -> bool:
        """Refuse a request beyond the limit, and say so.

        The hint is when the first of those that wait ends at the latest, by its deadline: how soon a learner catches up
        or a change is committed is not to be known from the ones before.
        """
        waiting = [change.request for change in self._changes]
        waiting += [item.request for item in self._catch_ups]
        waiting += [item.request for item in self._rollbacks]
        self._leadership_checks = [held for held in self._leadership_checks if not held.done]
        waiting += [item.request for item in self._transfers]
        waiting += self._leadership_checks
        if len(waiting) < self._max_requests:
            return False
        left_us = min(held.deadline for held in waiting) - self._replica.now
        hint = retry_after_ms(max(0, left_us), self._longest_timeout_us)
        self._replica.fail(
            request,
            Overloaded.because(f"{len(waiting)} changes and transfers are waiting", hint),
        )
        return True

    def _not_ready(self) -> ChangeRefused | None:
        """Why this leader cannot say who is a member, or None: its configuration may be taken back."""
        core = self._replica.core
        if not core.has_committed_in_term:
            return ChangeRefused(
                "not_ready",
                "this leader has not committed an entry of its own term yet: retry in a moment",
            )
        if core.membership_index > core.commit_index:
            return ChangeRefused(
                "pending",
                f"the change at index {core.membership_index} is not finished: wait for it",
            )
        return None

    def _begin_change(self, request: PendingRequest, event: ChangeMembership) -> None:
        if not self._try_change(request, event):
            return
        core = self._replica.core
        self._changes.append(_Change(request, core.membership_index, core.term))

    def _try_change(self, request: PendingRequest, event: ChangeMembership) -> bool:
        outcome = _first_outcome(self._replica.step_core(event))
        if isinstance(outcome, ChangeRejected):
            if outcome.name == "not_leader":
                self._replica.fail(request, self._replica.not_leader())
            else:
                self._replica.fail(request, ChangeRefused(outcome.name, outcome.reason))
            return False
        assert isinstance(outcome, ChangeAccepted), "the outcome of a change comes first"
        return True

    def _silent_majority(self, event: ChangeMembers) -> ChangeRefused | None:
        """The rejection of voters of whom a majority does not answer; None if one does, or the core refuses anyway.

        Raft would allow the change. But nothing could be committed from then on, not even its rollback: one command
        that promotes a node which is down, or removes the wrong one while another is down, would stop the cluster.
        """
        core = self._replica.core
        voters = sorted({*event.voters})
        answered = {voter: core.last_answer_at(voter) for voter in voters if voter != core.node_id}
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
            f"{silent} of the voters {voters} do not answer, and without a majority of them nothing could be "
            f"committed any more: start them first, or leave them out ({self._reasons(silent)})",
        )

    def _unreachable_target(self, voter: int | None) -> ChangeRefused | None:
        """The rejection of a transfer to a voter that has been silent and is not connected; None if it may be asked.

        What is sent to it would be dropped. Taken for sent, it would leave open who leads until the deadline.
        """
        core = self._replica.core
        if voter is None or core.role != "leader" or not core.membership.is_voter(voter):
            return None
        at, fault = core.last_answer_at(voter), self._replica.connection_problem(voter)
        if at is None or fault is None or at >= self._replica.now - self._longest_timeout_us:
            return None
        return ChangeRefused(
            "unreachable", f"node {voter} is not connected, and was not asked to take over: {fault}"
        )

    def _reasons(self, peers: list[int]) -> str:
        return "; ".join(f"node {peer}: {self._replica.silence_reason(peer)}" for peer in peers)

    # -- progress --------------------------------------------------------------------------------

    def advance(self) -> None:
        """After each step: settle what is finished."""
        self._changes = [change for change in self._changes if not self._change_done(change)]
        self._catch_ups = [item for item in self._catch_ups if not self._caught_up(item)]
        if self._learner_changes:
            awaited = {item.node_id for item in self._catch_ups}
            self._learner_changes = {
                node: held for node, held in self._learner_changes.items() if node in awaited
            }
        self._rollbacks = [item for item in self._rollbacks if not self._rollback_done(item)]
        self._transfers = [item for item in self._transfers if not self._transfer_done(item)]

    def expire(self, request: PendingRequest) -> QcoreError | None:
        """The error for a request of this kind whose deadline came; None if it is not one.

        The deadline may be moved: the request then goes on.
        """
        for change in self._changes:
            if change.request is request:
                self._changes.remove(change)
                return self._not_committed()
        for item in self._catch_ups:
            if item.request is request:
                self._catch_ups.remove(item)
                return self._on_catch_up_timeout(item)
        for rollback in self._rollbacks:
            if rollback.request is request:
                self._rollbacks.remove(rollback)
                return _rollback_unknown(rollback)
        for transfer in self._transfers:
            if transfer.request is request:
                self._transfers.remove(transfer)
                return self._transfer_unknown()
        return None

    def _change_done(self, change: _Change) -> bool:
        core = self._replica.core
        if core.commit_index < change.index:
            return False
        if not change.stands:
            term = core.term_at(change.index)
            led_on = core.role == "leader" and core.term == change.term
            if term is None and not led_on:
                # Whose entry was there is not known: a snapshot replaced the log.
                self._replica.fail(
                    change.request,
                    OutcomeUnknown(
                        f"a snapshot replaced the log at index {change.index}: whether the change happened is not "
                        "known: look at the members"
                    ),
                )
                return True
            if term is not None and term != change.term:
                self._replica.fail(
                    change.request,
                    ChangeRefused(
                        "overwritten",
                        "another leader took over; the change did not happen: try again",
                    ),
                )
                return True
            change.stands = True
        if core.membership_index > core.commit_index or core.membership.is_joint:
            return False
        self._replica.succeed(change.request, "Success", core.membership_index)
        return True

    def _caught_up(self, item: _CatchUp) -> bool:
        replica, core = self._replica, self._replica.core
        if core.role != "leader":
            replica.fail(item.request, replica.not_leader())
            return True
        match = core.match_index_of(item.node_id)
        if match is None:
            replica.fail(
                item.request,
                ChangeRefused("unknown_member", f"node {item.node_id} was removed meanwhile"),
            )
            return True
        if match < item.goal or core.membership_index > core.commit_index:
            return False
        if replica.now - item.began_at <= self._election_timeout_us:
            replica.succeed(item.request, "Success", match)
            return True
        if item.rounds >= CATCH_UP_ROUNDS:
            replica.fail(item.request, self._behind(item, f"within {CATCH_UP_ROUNDS} rounds"))
            return True
        item.rounds += 1
        item.goal = core.last_log_index
        item.began_at = replica.now
        return False

    def _on_catch_up_timeout(self, item: _CatchUp) -> QcoreError | None:
        """The error for a catch-up whose time is up; None if the learner's change is to be undone first.

        A learner that never answered was meant to be another node, or another address: it would only be in the way. One
        that answered, or was a member before, may hold what is in the log.
        """
        replica, core, node = self._replica, self._replica.core, item.node_id
        if core.membership_index > core.commit_index:
            return self._not_committed()
        if core.has_answered(node):
            return self._behind(item, "in time")
        membership = core.membership
        present = membership.address_of(node)
        why = (
            f"learner {node} did not catch up in time, and never answered at {present}: "
            f"{replica.silence_reason(node)}"
        )
        if node not in membership.learners:
            return NotCaughtUp(f"{why}; another request has made it a voter meanwhile")
        learner_change = self._learner_changes.get(node)
        if learner_change is None or learner_change.term != core.term or core.role != "leader":
            return NotCaughtUp(
                f"{why}; it stays a learner: ask again once it answers, or remove it"
            )
        if any(held.node_id == node for held in self._catch_ups):
            undone = (
                "it is removed again"
                if learner_change.before is None
                else f"its address was changed from {learner_change.before}, and is changed back"
            )
            return NotCaughtUp(
                f"{why}; another request still waits for it: {undone} if it has not answered by then"
            )
        return self._roll_back(item, learner_change.before, why)

    def _roll_back(self, item: _CatchUp, before: str | None, why: str) -> NotCaughtUp | None:
        """Begin to remove the learner, or to give it back the address that it had; returns why it cannot be done."""
        replica, core, node = self._replica, self._replica.core, item.node_id
        membership = core.membership
        if before is None:
            learners = tuple(learner for learner in membership.learners if learner != node)
            change = ChangeMembership(membership.voters, learners, (), 0)
            done, begun = "it was removed again", "its removal"
            failed = "it is still a learner, because it could not be removed"
        else:
            change = ChangeMembership(membership.voters, membership.learners, ((node, before),), 0)
            changed = f"its address was changed from {before} to {membership.address_of(node)}"
            done, begun = f"{changed} and back again", f"{changed}; the change back"
            failed = f"{changed}, and could not be changed back"
        owners = [member for member, address in membership.addresses if address == before]
        if owners:
            return NotCaughtUp(
                f"{why}; {failed} (node {owners[0]} has that address now): remove it, or add it with the right address"
            )
        outcome = _first_outcome(replica.step_core(change))
        if isinstance(outcome, ChangeRejected):
            return NotCaughtUp(
                f"{why}; {failed} ({outcome.reason}): remove it, or add it with the right address"
            )
        item.request.deadline = replica.now + self._election_timeout_us
        rollback = _LearnerRollback(
            item.request, core.membership_index, core.term, why, done, begun
        )
        self._rollbacks.append(rollback)
        return None

    def _rollback_done(self, item: _LearnerRollback) -> bool:
        core = self._replica.core
        if core.role != "leader" or core.term != item.term:
            self._replica.fail(item.request, _rollback_unknown(item))
            return True
        if core.commit_index < item.index:
            return False
        self._replica.fail(item.request, NotCaughtUp(f"{item.why}; {item.done}"))
        return True

    def _not_committed(self) -> OutcomeUnknown:
        """A change was begun, and its time is up."""
        core = self._replica.core
        since = self._replica.now - self._longest_timeout_us
        answered = {peer: core.last_answer_at(peer) for peer in core.membership.members()}
        silent = [peer for peer, at in answered.items() if at is not None and at < since]
        said = f" ({self._reasons(silent)})" if silent else ""
        return OutcomeUnknown(
            f"the membership change was not committed in time{said}; it may still finish: look at the members"
        )

    def _behind(self, item: _CatchUp, limit: str) -> NotCaughtUp:
        core = self._replica.core
        match = core.match_index_of(item.node_id) or 0
        return NotCaughtUp(
            f"learner {item.node_id} did not catch up {limit}: it has {match} of {core.last_log_index} entries, "
            f"{core.last_log_index - match} are missing; it goes on catching up: ask again later"
        )

    def _transfer_done(self, item: _Transfer) -> bool:
        replica, core = self._replica, self._replica.core
        if core.role == "leader":
            # A voter that was asked and has not refused may still take over, as long as the term lasts.
            if core.term == item.term and (core.transferring or core.has_unanswered_timeout_now):
                return False
            again = f"this node leads on in term {core.term}"
            why = f"{core.last_transfer_failure}; {again}" if core.term == item.term else again
            replica.fail(item.request, TransferFailed(why, core.node_id, core.term))
            return True
        if core.leader_id is None:
            return False
        if item.to in (None, core.leader_id):
            replica.succeed(item.request, Leadership.of(core).to_json(), core.commit_index)
        else:
            why = f"node {core.leader_id} took over in term {core.term}, and not node {item.to}"
            replica.fail(item.request, TransferFailed(why, core.leader_id, core.term))
        return True

    def _transfer_unknown(self) -> TransferUnknown:
        """The time for a transfer is over, and it has no end."""
        core = self._replica.core
        if core.role != "leader":
            return TransferUnknown(
                f"this node led before term {core.term} and knows no leader of it yet: look who leads"
            )
        state = "is still under way" if core.transferring else "has not ended"
        return TransferUnknown(
            f"the transfer {state}: this node still leads in term {core.term}, but a voter that it asked to take over "
            "has not answered, and may do so at any later time: look who leads"
            if core.has_unanswered_timeout_now
            else f"the transfer {state}: the voter that is to take over is still catching up: look who leads"
        )


def _rollback_unknown(item: _LearnerRollback) -> NotCaughtUp:
    return NotCaughtUp(
        f"{item.why}; {item.begun} was begun and is not known to be committed: look at the members"
    )


def _first_outcome(effects: list[Effect]) -> Effect:
    assert effects, "a change or transfer always has an outcome"
    return effects[0]
