"""Requests to add a learner: each ends when its learner has caught up, or when its change is undone."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.compiled_build import register_copies
from qcore.core.effects import ChangeRejected
from qcore.core.entry import Membership
from qcore.core.events import ChangeMembership
from qcore.core.version import KEYS_SINCE_RULES
from qcore.errors import ChangeRefused, NotCaughtUp, QcoreError
from qcore.replica.admin.membership_requests import (
    change_not_committed,
    not_ready,
    propose_change,
)
from qcore.replica.events import AddLearner
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.pending import PendingRequest

#: A learner must come within an election timeout of the leader in this many rounds (dissertation 4.2.1).
CATCH_UP_ROUNDS = 10


@dataclass
class _CatchUp:
    """A learner that catches up. Each round replicates what the log held when the round began.

    Attributes:
        goal: the last index of this round.
        began_at: when the round began, µs.
    """

    request: PendingRequest
    node_id: int
    goal: int
    began_at: int
    rounds: int = 1


@dataclass
class _LearnerChange:
    """A change that a request made for a learner. It is undone if the learner never responds while requests wait.

    Attributes:
        term: the term in which this node led and made the change.
        before: the learner's address before the change; None if it was not a member.
    """

    term: int
    before: str | None


@dataclass
class _LearnerRollback:
    """The change for a learner that never responded is being undone by the configuration at `index`.

    Attributes:
        why: why the learner failed.
        done: what the error reports if the rollback is committed.
        begun: what it reports if that stays unknown.
    """

    request: PendingRequest
    index: int
    term: int
    why: str
    done: str
    begun: str


class LearnerRequests:
    """The learners of one replica that are catching up, and the changes that are being undone.

    Args:
        replica: the replica.
        shortest_timeout_us: the shortest election timeout. A learner has caught up once a round takes no longer.
        longest_timeout_us: the longest election timeout. A member that has not responded for this long is silent.
    """

    def __init__(
        self, replica: ReplicaContext, shortest_timeout_us: int, longest_timeout_us: int
    ) -> None:
        self._replica = replica
        self._shortest_timeout_us = shortest_timeout_us
        self._longest_timeout_us = longest_timeout_us
        self._catch_ups: list[_CatchUp] = []
        self._changes: dict[int, _LearnerChange] = {}  # by learner, while requests wait for it
        self._rollbacks: list[_LearnerRollback] = []

    @property
    def idle(self) -> bool:
        return not (self._catch_ups or self._rollbacks)

    def unfinished(self) -> list[PendingRequest]:
        waiting = [item.request for item in self._catch_ups]
        return waiting + [item.request for item in self._rollbacks]

    def begin(self, request: PendingRequest, event: AddLearner, wall_us: int) -> None:
        """Propose the learner, unless it is one already, and wait until it has caught up; or reject the request."""
        replica = self._replica
        if replica.core.role != "leader":
            # The configuration here may be old. Only the leader knows which node is a voter.
            replica.fail(request, replica.not_leader())
            return
        membership = replica.core.membership
        is_voter = membership.is_voter(event.node_id)
        rejection = not_ready(replica.core)
        if rejection is not None and (is_voter or rejection.name == "not_ready"):
            replica.fail(request, rejection)
            return
        if is_voter:
            replica.fail(
                request, ChangeRefused("is_voter", f"node {event.node_id} is a voter already")
            )
            return
        is_learner = event.node_id in membership.learners
        if (wrong_key := _key_rejection(event, membership)) is not None:
            replica.fail(request, wrong_key)
            return
        address = membership.address_of(event.node_id)
        if not is_learner or address != event.address:
            made = _LearnerChange(replica.core.term, address if is_learner else None)
            earlier = self._changes.get(event.node_id)
            if is_learner and earlier is not None and not replica.core.has_responded(event.node_id):
                made = earlier  # it never responded there either: a rollback restores the address before that
            change = ChangeMembership(
                membership.voters,
                tuple(sorted({*membership.learners, event.node_id})),
                ((event.node_id, event.address),),
                wall_us,
                keys=((event.node_id, event.public_key),) if event.public_key else (),
            )
            if not propose_change(replica, request, change):
                return
            if made.before == event.address:
                self._changes.pop(event.node_id, None)  # this was the rollback
            else:
                self._changes[event.node_id] = made
        self._catch_ups.append(
            _CatchUp(request, event.node_id, replica.core.last_log_index, replica.now)
        )

    def advance(self) -> None:
        """After each step: give the finished requests their outcome."""
        self._catch_ups = [item for item in self._catch_ups if not self._finished(item)]
        if self._changes:
            awaited = {item.node_id for item in self._catch_ups}
            self._changes = {node: made for node, made in self._changes.items() if node in awaited}
        self._rollbacks = [item for item in self._rollbacks if not self._rollback_finished(item)]

    def expire(self, request: PendingRequest) -> QcoreError | None:
        """The error for a request whose deadline has come; None if it is not one of these.

        If the call extends the deadline, the request continues: its change is undone first.
        """
        for item in self._catch_ups:
            if item.request is request:
                self._catch_ups.remove(item)
                return self._on_timeout(item)
        for rollback in self._rollbacks:
            if rollback.request is request:
                self._rollbacks.remove(rollback)
                return _rollback_unknown(rollback)
        return None

    def _finished(self, item: _CatchUp) -> bool:
        replica, core = self._replica, self._replica.core
        if core.role != "leader":
            replica.fail(item.request, replica.not_leader())
            return True
        match = core.match_index_of(item.node_id)
        if match is None:
            replica.fail(
                item.request,
                ChangeRefused("unknown_member", f"node {item.node_id} has been removed"),
            )
            return True
        if match < item.goal or core.membership_index > core.commit_index:
            return False
        if replica.now - item.began_at <= self._shortest_timeout_us:
            replica.succeed(item.request, "Success", match)
            return True
        if item.rounds >= CATCH_UP_ROUNDS:
            replica.fail(item.request, self._behind(item, f"within {CATCH_UP_ROUNDS} rounds"))
            return True
        item.rounds += 1
        item.goal = core.last_log_index
        item.began_at = replica.now
        return False

    def _behind(self, item: _CatchUp, limit: str) -> NotCaughtUp:
        core = self._replica.core
        match = core.match_index_of(item.node_id) or 0
        return NotCaughtUp(
            f"learner {item.node_id} did not catch up {limit}: it has {match} of {core.last_log_index} entries, "
            f"{core.last_log_index - match} are missing; it continues to catch up: retry later"
        )

    def _on_timeout(self, item: _CatchUp) -> QcoreError | None:
        """The error for a catch-up whose deadline has come; None if the learner's change must be undone first.

        A learner that never responded has a wrong id or a wrong address, and would only be in the way. One that
        responded, or was a member before, may hold a part of the log.
        """
        replica, core, node = self._replica, self._replica.core, item.node_id
        if core.membership_index > core.commit_index:
            return change_not_committed(replica, self._longest_timeout_us)
        if core.has_responded(node):
            return self._behind(item, "in time")
        membership = core.membership
        why = (
            f"learner {node} did not catch up in time, and never answered at {membership.address_of(node)}: "
            f"{replica.silence_reason(node)}"
        )
        if node not in membership.learners:
            return NotCaughtUp(f"{why}; another request has made it a voter")
        made = self._changes.get(node)
        if made is None or made.term != core.term or core.role != "leader":
            return NotCaughtUp(f"{why}; it stays a learner: retry once it answers, or remove it")
        if any(held.node_id == node for held in self._catch_ups):
            undone = (
                "it is removed again"
                if made.before is None
                else f"its address was changed from {made.before}, and is changed back"
            )
            return NotCaughtUp(
                f"{why}; another request still waits for it: {undone} if it has not answered by then"
            )
        return self._roll_back(item, made.before, why)

    def _roll_back(self, item: _CatchUp, before: str | None, why: str) -> NotCaughtUp | None:
        """Begin to remove the learner, or to restore its earlier address; return an error if that is impossible."""
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
        outcome = replica.step_core(change)[0]
        if isinstance(outcome, ChangeRejected):
            return NotCaughtUp(
                f"{why}; {failed} ({outcome.reason}): remove it, or add it with the right address"
            )
        item.request.deadline = replica.now + self._shortest_timeout_us
        self._rollbacks.append(
            _LearnerRollback(item.request, core.membership_index, core.term, why, done, begun)
        )
        return None

    def _rollback_finished(self, item: _LearnerRollback) -> bool:
        core = self._replica.core
        if core.role != "leader" or core.term != item.term:
            self._replica.fail(item.request, _rollback_unknown(item))
            return True
        if core.commit_index < item.index:
            return False
        self._replica.fail(item.request, NotCaughtUp(f"{item.why}; {item.done}"))
        return True


def _key_rejection(event: AddLearner, membership: Membership) -> ChangeRefused | None:
    """The rejection of a learner whose key does not fit the cluster; None if it does."""
    node, key, known = event.node_id, event.public_key, membership.key_of(event.node_id)
    if key and not membership.keys:
        return ChangeRefused(
            "no_keys",
            f"the apply rules of this cluster are older than version {KEYS_SINCE_RULES}, so its members have no public "
            f"keys yet: add node {node} without one",
        )
    if known is not None and key not in ("", known):
        return ChangeRefused(
            "other_key",
            f"node {node} is a member with the public key {known}: remove it, and add it again with the new one",
        )
    if membership.keys and known is None and not key:
        return ChangeRefused(
            "key_missing",
            f"every member of this cluster has a public key: give the key of node {node}, which `qcore node key "
            "--data-dir DIR` prints on its machine. A node of qcore 0.1.0 has none: upgrade it first",
        )
    return None


def _rollback_unknown(item: _LearnerRollback) -> NotCaughtUp:
    return NotCaughtUp(
        f"{item.why}; {item.begun} has begun and is not known to be committed: check the members"
    )


register_copies(globals())
