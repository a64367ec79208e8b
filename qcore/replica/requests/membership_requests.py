"""Membership changes, learners that catch up, and transfers: requests that outlast one log entry."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.core.effects import (
    ChangeAccepted,
    ChangeRefused,
    Effect,
    TransferRefused,
    TransferStarted,
)
from qcore.core.events import ChangeMembership, TransferLeadership
from qcore.errors import ChangeRefused as ChangeRefusedError
from qcore.errors import (
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
from qcore.replica.owner import Owner
from qcore.replica.requests.flow_control import retry_after_ms
from qcore.replica.requests.pending import Request

#: Rounds in which a learner must come within an election timeout of the leader (dissertation 4.2.1).
CATCH_UP_ROUNDS = 10


@dataclass(slots=True)
class _Change:
    """A change whose first configuration is at `index`: done when a simple one from there on is committed.

    `stands` once that entry is known to be the committed one: the log may be compacted before the change is done.
    """

    request: Request
    index: int
    term: int
    stands: bool = False


@dataclass(slots=True)
class _CatchUp:
    """A learner on its way. Each round replicates what the log held when the round began."""

    request: Request
    node_id: int
    goal: int
    began_at: int
    rounds: int = 1


@dataclass(slots=True)
class _Trial:
    """What a request changed for a learner, and is undone if the learner does not answer as long as requests wait.

    Attributes:
        term: in which this node led and made the change.
        before: the address that the learner had before; None: it was no member.
    """

    term: int
    before: str | None


@dataclass(slots=True)
class _Handover:
    """A transfer to another voter that began in `term`; `to` is None if the best one was asked for."""

    request: Request
    to: int | None
    term: int


@dataclass(slots=True)
class _Undoing:
    """A learner never answered, and what was changed for it is being undone by the configuration at `index`.

    `why` it never answered; `done` is what to say once that is committed, `begun` until then.
    """

    request: Request
    index: int
    term: int
    why: str
    done: str
    begun: str


class Admin:
    """The unfinished changes, catch-ups and transfers of one replica."""

    def __init__(self, owner: Owner, config: ReplicaConfig) -> None:
        self._owner = owner
        self._election_timeout_us = config.raft.election_timeout_min_ms * 1000
        self._longest_timeout_us = config.raft.election_timeout_max_ms * 1000
        self._max_requests = config.max_admin_requests
        self._changes: list[_Change] = []
        self._catch_ups: list[_CatchUp] = []
        self._trials: dict[int, _Trial] = {}  # of learners for which requests wait
        self._undoings: list[_Undoing] = []
        self._handovers: list[_Handover] = []
        self._proofs: list[Request] = []

    @property
    def idle(self) -> bool:
        return not (self._changes or self._catch_ups or self._undoings or self._handovers)

    # -- requests --------------------------------------------------------------------------------

    def change(self, event: ChangeMembers, wall_us: int) -> None:
        request = self._owner.open_request(event.request_id, event.timeout_ms)
        if self._overloaded(request):
            return
        if (silent := self._silent_majority(event)) is not None:
            self._owner.fail(request, silent)
            return
        self._begin_change(
            request,
            ChangeMembership(
                event.voters, event.learners, event.addresses, wall_us, event.expected_index
            ),
        )

    def add_learner(self, event: AddLearner, wall_us: int) -> None:
        owner = self._owner
        request = owner.open_request(event.request_id, event.timeout_ms)
        if self._overloaded(request):
            return
        if owner.core.role != "leader":
            # Its configuration may be an old one: it is not for this node to say who is a voter.
            owner.fail(request, owner.not_leader())
            return
        membership = owner.core.membership
        is_voter = membership.is_voter(event.node_id)
        unsure = self._unsure()
        if unsure is not None and (is_voter or unsure.name == "not_ready"):
            owner.fail(request, unsure)
            return
        if is_voter:
            owner.fail(
                request, ChangeRefusedError("is_voter", f"node {event.node_id} is a voter already")
            )
            return
        is_learner = event.node_id in membership.learners
        present = membership.address_of(event.node_id)
        if not is_learner or present != event.address:
            trial = _Trial(owner.core.term, present if is_learner else None)
            held = self._trials.get(event.node_id)
            if is_learner and held is not None and not owner.core.has_answered(event.node_id):
                trial = held  # never answered there either: what was before that comes back
            change = ChangeMembership(
                membership.voters,
                tuple(sorted({*membership.learners, event.node_id})),
                ((event.node_id, event.address),),
                wall_us,
            )
            if not self._accepted(request, change):
                return
            if trial.before == event.address:
                self._trials.pop(event.node_id, None)  # that was the change back
            else:
                self._trials[event.node_id] = trial
        self._catch_ups.append(
            _CatchUp(request, event.node_id, owner.core.last_log_index, owner.now)
        )

    def transfer(self, event: TransferLeader) -> None:
        owner = self._owner
        request = owner.open_request(event.request_id, event.timeout_ms)
        if self._overloaded(request):
            return
        if (gone := self._gone(event.to)) is not None:
            owner.fail(request, gone)
            return
        verdict = _verdict(owner.step_core(TransferLeadership(event.to)))
        if isinstance(verdict, TransferRefused):
            if verdict.name == "not_leader":
                owner.fail(request, owner.not_leader())
            else:
                # Who is a voter may still change back, if it is not committed.
                unsure = self._unsure() if verdict.name == "unknown_member" else None
                owner.fail(request, unsure or ChangeRefusedError(verdict.name, verdict.reason))
        elif isinstance(verdict, TransferStarted) and verdict.target == owner.core.node_id:
            # It believes that it leads. Another may do so by now.
            self._proofs.append(request)
            owner.prove_leadership(request)
        else:
            self._handovers.append(_Handover(request, event.to, owner.core.term))

    def _overloaded(self, request: Request) -> bool:
        """Refuse a request beyond the limit, and say so.

        The hint is when the first of those that wait ends at the latest, by its deadline: how soon a learner catches up
        or a change is committed is not to be known from the ones before.
        """
        waiting = [change.request for change in self._changes]
        waiting += [item.request for item in self._catch_ups]
        waiting += [item.request for item in self._undoings]
        self._proofs = [held for held in self._proofs if not held.done]
        waiting += [item.request for item in self._handovers]
        waiting += self._proofs
        if len(waiting) < self._max_requests:
            return False
        left_us = min(held.deadline for held in waiting) - self._owner.now
        hint = retry_after_ms(max(0, left_us), self._longest_timeout_us)
        self._owner.fail(
            request,
            Overloaded.because(f"{len(waiting)} changes and transfers are waiting", hint),
        )
        return True

    def _unsure(self) -> ChangeRefusedError | None:
        """Why this leader cannot say who is a member, or None: its configuration may be taken back."""
        core = self._owner.core
        if not core.has_committed_in_term:
            return ChangeRefusedError(
                "not_ready",
                "this leader has not committed an entry of its own term yet: retry in a moment",
            )
        if core.membership_index > core.commit:
            return ChangeRefusedError(
                "pending",
                f"the change at index {core.membership_index} is not finished: wait for it",
            )
        return None

    def _begin_change(self, request: Request, event: ChangeMembership) -> None:
        if not self._accepted(request, event):
            return
        core = self._owner.core
        self._changes.append(_Change(request, core.membership_index, core.term))

    def _accepted(self, request: Request, event: ChangeMembership) -> bool:
        verdict = _verdict(self._owner.step_core(event))
        if isinstance(verdict, ChangeRefused):
            if verdict.name == "not_leader":
                self._owner.fail(request, self._owner.not_leader())
            else:
                self._owner.fail(request, ChangeRefusedError(verdict.name, verdict.reason))
            return False
        assert isinstance(verdict, ChangeAccepted), "the verdict on a change comes first"
        return True

    def _silent_majority(self, event: ChangeMembers) -> ChangeRefusedError | None:
        """The refusal of voters of whom a majority does not answer; None if one does, or the core refuses anyway.

        Raft would allow the change. But nothing could be committed from then on, not even its undoing: one command
        that promotes a node which is down, or removes the wrong one while another is down, would stop the cluster.
        """
        core = self._owner.core
        voters = sorted({*event.voters})
        answered = {voter: core.answered_at(voter) for voter in voters if voter != core.node_id}
        if (
            not core.has_committed_in_term
            or core.membership_index > core.commit
            or None in answered.values()
        ):
            return None
        if not voters or event.expected_index not in (None, core.membership_index):
            return None
        since = self._owner.now - self._longest_timeout_us
        silent = [voter for voter, at in answered.items() if at is not None and at < since]
        if 2 * len(silent) < len(voters):
            return None
        return ChangeRefusedError(
            "unreachable",
            f"{silent} of the voters {voters} do not answer, and without a majority of them nothing could be "
            f"committed any more: start them first, or leave them out ({self._reasons(silent)})",
        )

    def _gone(self, voter: int | None) -> ChangeRefusedError | None:
        """The refusal of a transfer to a voter that has been silent and is not connected; None if it may be asked.

        What is sent to it would be dropped. Taken for sent, it would leave open who leads until the deadline.
        """
        core = self._owner.core
        if voter is None or core.role != "leader" or not core.membership.is_voter(voter):
            return None
        at, fault = core.answered_at(voter), self._owner.fault_of(voter)
        if at is None or fault is None or at >= self._owner.now - self._longest_timeout_us:
            return None
        return ChangeRefusedError(
            "unreachable", f"node {voter} is not connected, and was not asked to take over: {fault}"
        )

    def _reasons(self, peers: list[int]) -> str:
        return "; ".join(f"node {peer}: {self._owner.why_silent(peer)}" for peer in peers)

    # -- progress --------------------------------------------------------------------------------

    def advance(self) -> None:
        """After each step: settle what is finished."""
        self._changes = [change for change in self._changes if not self._change_done(change)]
        self._catch_ups = [item for item in self._catch_ups if not self._caught_up(item)]
        if self._trials:
            awaited = {item.node_id for item in self._catch_ups}
            self._trials = {node: held for node, held in self._trials.items() if node in awaited}
        self._undoings = [item for item in self._undoings if not self._undone(item)]
        self._handovers = [item for item in self._handovers if not self._handed_over(item)]

    def expire(self, request: Request) -> QcoreError | None:
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
                return self._give_up(item)
        for undoing in self._undoings:
            if undoing.request is request:
                self._undoings.remove(undoing)
                return _not_known_undone(undoing)
        for handover in self._handovers:
            if handover.request is request:
                self._handovers.remove(handover)
                return self._undecided()
        return None

    def _change_done(self, change: _Change) -> bool:
        core = self._owner.core
        if core.commit < change.index:
            return False
        if not change.stands:
            term = core.term_at(change.index)
            led_on = core.role == "leader" and core.term == change.term
            if term is None and not led_on:
                # Whose entry was there is not known: a snapshot replaced the log.
                self._owner.fail(
                    change.request,
                    OutcomeUnknown(
                        f"a snapshot replaced the log at index {change.index}: whether the change happened is not "
                        "known: look at the members"
                    ),
                )
                return True
            if term is not None and term != change.term:
                self._owner.fail(
                    change.request,
                    ChangeRefusedError(
                        "overwritten",
                        "another leader took over; the change did not happen: try again",
                    ),
                )
                return True
            change.stands = True
        if core.membership_index > core.commit or core.membership.is_joint:
            return False
        self._owner.succeed(change.request, "Success", core.membership_index)
        return True

    def _caught_up(self, item: _CatchUp) -> bool:
        owner, core = self._owner, self._owner.core
        if core.role != "leader":
            owner.fail(item.request, owner.not_leader())
            return True
        match = core.match_of(item.node_id)
        if match is None:
            owner.fail(
                item.request,
                ChangeRefusedError("unknown_member", f"node {item.node_id} was removed meanwhile"),
            )
            return True
        if match < item.goal or core.membership_index > core.commit:
            return False
        if owner.now - item.began_at <= self._election_timeout_us:
            owner.succeed(item.request, "Success", match)
            return True
        if item.rounds >= CATCH_UP_ROUNDS:
            owner.fail(item.request, self._behind(item, f"within {CATCH_UP_ROUNDS} rounds"))
            return True
        item.rounds += 1
        item.goal = core.last_log_index
        item.began_at = owner.now
        return False

    def _give_up(self, item: _CatchUp) -> QcoreError | None:
        """The error for a catch-up whose time is up; None if the learner's change is to be undone first.

        A learner that never answered was meant to be another node, or another address: it would only be in the way. One
        that answered, or was a member before, may hold what is in the log.
        """
        owner, core, node = self._owner, self._owner.core, item.node_id
        if core.membership_index > core.commit:
            return self._not_committed()
        if core.has_answered(node):
            return self._behind(item, "in time")
        membership = core.membership
        present = membership.address_of(node)
        why = (
            f"learner {node} did not catch up in time, and never answered at {present}: "
            f"{owner.why_silent(node)}"
        )
        if node not in membership.learners:
            return NotCaughtUp(f"{why}; another request has made it a voter meanwhile")
        trial = self._trials.get(node)
        if trial is None or trial.term != core.term or core.role != "leader":
            return NotCaughtUp(
                f"{why}; it stays a learner: ask again once it answers, or remove it"
            )
        if any(held.node_id == node for held in self._catch_ups):
            undone = (
                "it is removed again"
                if trial.before is None
                else f"its address was changed from {trial.before}, and is changed back"
            )
            return NotCaughtUp(
                f"{why}; another request still waits for it: {undone} if it has not answered by then"
            )
        return self._undo(item, trial.before, why)

    def _undo(self, item: _CatchUp, before: str | None, why: str) -> NotCaughtUp | None:
        """Begin to remove the learner, or to give it back the address that it had; returns why it cannot be done."""
        owner, core, node = self._owner, self._owner.core, item.node_id
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
        verdict = _verdict(owner.step_core(change))
        if isinstance(verdict, ChangeRefused):
            return NotCaughtUp(
                f"{why}; {failed} ({verdict.reason}): remove it, or add it with the right address"
            )
        item.request.deadline = owner.now + self._election_timeout_us
        undoing = _Undoing(item.request, core.membership_index, core.term, why, done, begun)
        self._undoings.append(undoing)
        return None

    def _undone(self, item: _Undoing) -> bool:
        core = self._owner.core
        if core.role != "leader" or core.term != item.term:
            self._owner.fail(item.request, _not_known_undone(item))
            return True
        if core.commit < item.index:
            return False
        self._owner.fail(item.request, NotCaughtUp(f"{item.why}; {item.done}"))
        return True

    def _not_committed(self) -> OutcomeUnknown:
        """A change was begun, and its time is up."""
        core = self._owner.core
        since = self._owner.now - self._longest_timeout_us
        answered = {peer: core.answered_at(peer) for peer in core.membership.members()}
        silent = [peer for peer, at in answered.items() if at is not None and at < since]
        said = f" ({self._reasons(silent)})" if silent else ""
        return OutcomeUnknown(
            f"the membership change was not committed in time{said}; it may still finish: look at the members"
        )

    def _behind(self, item: _CatchUp, limit: str) -> NotCaughtUp:
        core = self._owner.core
        match = core.match_of(item.node_id) or 0
        return NotCaughtUp(
            f"learner {item.node_id} did not catch up {limit}: it has {match} of {core.last_log_index} entries, "
            f"{core.last_log_index - match} are missing; it goes on catching up: ask again later"
        )

    def _handed_over(self, item: _Handover) -> bool:
        owner, core = self._owner, self._owner.core
        if core.role == "leader":
            # A voter that was asked and has not refused may still take over, as long as the term lasts.
            if core.term == item.term and (core.transferring or core.may_be_taken_over):
                return False
            again = f"this node leads on in term {core.term}"
            why = f"{core.transfer_end}; {again}" if core.term == item.term else again
            owner.fail(item.request, TransferFailed(why, core.node_id, core.term))
            return True
        if core.leader_id is None:
            return False
        if item.to in (None, core.leader_id):
            owner.succeed(item.request, Leadership.of(core).to_json(), core.commit)
        else:
            why = f"node {core.leader_id} took over in term {core.term}, and not node {item.to}"
            owner.fail(item.request, TransferFailed(why, core.leader_id, core.term))
        return True

    def _undecided(self) -> TransferUnknown:
        """The time for a transfer is over, and it has no end."""
        core = self._owner.core
        if core.role != "leader":
            return TransferUnknown(
                f"this node led before term {core.term} and knows no leader of it yet: look who leads"
            )
        state = "is still under way" if core.transferring else "has not ended"
        return TransferUnknown(
            f"the transfer {state}: this node still leads in term {core.term}, but a voter that it asked to take over "
            "has not answered, and may do so at any later time: look who leads"
            if core.may_be_taken_over
            else f"the transfer {state}: the voter that is to take over is still catching up: look who leads"
        )


def _not_known_undone(item: _Undoing) -> NotCaughtUp:
    return NotCaughtUp(
        f"{item.why}; {item.begun} was begun and is not known to be committed: look at the members"
    )


def _verdict(effects: list[Effect]) -> Effect:
    assert effects, "a change or transfer always has a verdict"
    return effects[0]
