"""The operator of a simulated cluster: asks for membership changes and transfers, and tries again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random

from qcore.core.entry import Membership
from qcore.errors import ChangeRefused
from qcore.replica.events import AddLearner, ChangeMembers, ReplicaEvent, Reply, TransferLeader
from qcore.sim.faults.ledger import Fault
from qcore.sim.faults.selection import ActionNotReady, SelectorResolver
from qcore.sim.scenario.actions.admin_actions import (
    AddLearnerAction,
    AdminAction,
    ChangeMembersAction,
    RemoveAction,
    TransferAction,
)
from qcore.sim.world.node.sim_node import SimNode
from qcore.sim.world.services import Services

_PAUSE_US = 50_000
_NEVER_US = 1 << 60
#: One attempt waits no longer than this, when there may be another.
_ATTEMPT_MS = 1500
#: Refusals that stay what they are, however often one asks.
_FINAL_REJECTIONS = (
    "empty",
    "unknown_member",
    "contradiction",
    "changed",
    "is_voter",
    "priorities",
)


def address_of(node: int) -> str:
    """The address that a simulated node has in configurations."""
    return f"node-{node}:8080"


@dataclass(slots=True)
class AdminOperation:
    """One request of the operator, over all its attempts.

    Attributes:
        action: what the timeline says.
        removed: the nodes that it takes out, as resolved when it fired.
        attempts: how often it was handed to a node; `node` is the last of them.
        outcome: `ok`, an error's name, `lost` (the node died), `timeout`; None while it is under way.
    """

    name: str
    action: AdminAction
    removed: tuple[int, ...]
    deadline_us: int
    fault: Fault
    rng: Random
    attempts: int = 0
    node: int = 0
    outcome: str | None = None
    detail: str = ""
    last: str = "timeout"

    @property
    def has_expected_outcome(self) -> bool:
        """Whether the outcome is one that the timeline asks for; true if it asks for none."""
        wanted = self.action.outcome
        if wanted is None or self.outcome in wanted:
            return True
        return "not_ok" in wanted and self.outcome != "ok"


class AdminActions:
    """Carries out the administrative actions of a timeline.

    Attributes:
        ops: all that were begun, in order.
    """

    def __init__(
        self, services: Services, resolver: SelectorResolver, nodes: Mapping[int, SimNode]
    ) -> None:
        self._services = services
        self._engine = services.engine
        self._resolver = resolver
        self._nodes = nodes
        self.ops: list[AdminOperation] = []

    def begin(
        self, action: AdminAction, fault: Fault, rng: Random, until_us: int = _NEVER_US
    ) -> None:
        """Start on an action, and give up at `until_us` at the latest.

        Raises:
            ActionNotReady: it names nodes that cannot be told at this moment.
        """
        removed: tuple[int, ...] = ()
        if isinstance(action, RemoveAction):
            removed = self._resolver.resolve(action.nodes, rng, among=self._members())
        elif isinstance(action, ChangeMembersAction) and action.remove is not None:
            removed = self._resolver.resolve(action.remove, rng, among=self._members())
        deadline = min(self._engine.now + action.timeout_ms * 1000, until_us)
        op = AdminOperation(fault.name, action, removed, deadline, fault, rng)
        self.ops.append(op)
        self._engine.at(deadline, partial(self._on_timeout, op))
        self._try(op)

    def _members(self) -> tuple[int, ...]:
        """The members as the leader knows them: who else could be taken out?"""
        leader = self._services.monitor.leader
        replica = self._nodes[leader].replica if leader is not None else None
        return () if replica is None else replica.core.membership.members()

    def _try(self, op: AdminOperation) -> None:
        if op.outcome is not None:
            return
        try:
            running = [node for node, machine in self._nodes.items() if machine.up]
            asked = self._resolver.resolve(op.action.at, op.rng, among=running)
        except ActionNotReady:
            asked = ()
        if not asked:
            self._finish_or_retry(op, "no_leader", "")
            return
        op.node = asked[0]
        left_ms = max(1, (op.deadline_us - self._engine.now) // 1000)
        timeout_ms = min(left_ms, _ATTEMPT_MS) if op.action.retry else left_ms
        op.attempts += 1
        attempt = op.attempts

        def make(request_id: int, membership: Membership) -> ReplicaEvent:
            return _event(op, request_id, membership, timeout_ms)

        def answered(reply: Reply | None) -> None:
            if attempt == op.attempts and op.outcome is None:
                self._answered(op, reply)

        if self._nodes[op.node].receive_admin_request(make, answered):
            op.fault.acted += 1
            self._services.trace.fault(self._engine.now, "act", op.name, [op.node])
        else:
            self._finish_or_retry(op, "lost", "the node is down")

    def _answered(self, op: AdminOperation, reply: Reply | None) -> None:
        if reply is None:
            self._finish_or_retry(op, "lost", "the node died")
        elif reply.error is None:
            self._finish_or_retry(op, "ok", "")
        elif isinstance(reply.error, ChangeRefused):
            self._finish_or_retry(op, reply.error.name, str(reply.error))
        else:
            self._finish_or_retry(op, reply.error.code, str(reply.error))

    def _finish_or_retry(self, op: AdminOperation, outcome: str, detail: str) -> None:
        """End with this outcome, or try again."""
        op.last, op.detail = outcome, detail
        again = op.action.retry and outcome != "ok" and outcome not in _FINAL_REJECTIONS
        if again and self._engine.now + _PAUSE_US < op.deadline_us:
            self._engine.after(_PAUSE_US, partial(self._try, op))
        else:
            op.outcome = outcome

    def _on_timeout(self, op: AdminOperation) -> None:
        if op.outcome is None:
            op.outcome = op.last


def _event(op: AdminOperation, request_id: int, now: Membership, timeout_ms: int) -> ReplicaEvent:
    """What the node is asked, given the membership that it knows."""
    action = op.action
    match action:
        case AddLearnerAction():
            return AddLearner(request_id, action.node, address_of(action.node), timeout_ms)
        case TransferAction():
            return TransferLeader(request_id, action.to, timeout_ms)
        case ChangeMembersAction():
            return _change(action, op.removed, request_id, now, timeout_ms)
        case RemoveAction():
            relative = ChangeMembersAction(learners=None, remove=action.nodes)
            return _change(relative, op.removed, request_id, now, timeout_ms)
    raise AssertionError(f"{action.kind} is no request")  # type: ignore[attr-defined]  # each action has one


def _change(
    action: ChangeMembersAction,
    removed: tuple[int, ...],
    request_id: int,
    now: Membership,
    timeout_ms: int,
) -> ChangeMembers:
    voters = action.voters
    if voters is None:
        voters = tuple(sorted({*now.voters, *action.add} - {*removed}))
    learners = action.learners
    if learners is None:
        learners = tuple(sorted({*now.learners} - {*voters} - {*removed}))
    strangers = sorted({*voters, *learners} - {*dict(now.addresses)})
    addresses = tuple((node, address_of(node)) for node in strangers)
    return ChangeMembers(request_id, voters, learners, addresses, timeout_ms, action.expected_index)


#: Hands a request with this id to a node that knows this membership.
MakeRequest = Callable[[int, Membership], ReplicaEvent]
