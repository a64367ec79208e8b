"""Sends the admin requests of a timeline: membership changes and leadership transfers, with retries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random

from qcore.core.entry import Membership
from qcore.errors import ChangeRefused
from qcore.replica.events import AddLearner, ChangeMembers, ReplicaEvent, Reply, TransferLeader
from qcore.sim.faults.ledger import Fault
from qcore.sim.faults.selector_resolver import ActionNotReady, SelectorResolver
from qcore.sim.scenario.actions.admin_actions import (
    AddLearnerAction,
    AdminAction,
    ChangeMembersAction,
    RemoveAction,
    TransferAction,
)
from qcore.sim.world.services import Services
from qcore.sim.world.simulated_node import SimulatedNode

_PAUSE_US = 50_000
#: The timeout of one attempt if another may follow.
_ATTEMPT_MS = 1500
#: Outcomes that another attempt would not change.
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
    """One admin request, over all its attempts.

    Attributes:
        action: the action of the timeline.
        removed: the nodes to remove, as resolved when the action fired.
        attempts: how often it was sent to a node.
        node: the node of the last attempt.
        outcome: `ok`, an error's name, `lost` (the node died) or `timeout`; None while it is in progress.
        last, detail: the outcome and error text of the last attempt.
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
        """Whether the outcome is one that the timeline demands; true if it demands none."""
        wanted = self.action.outcome
        if wanted is None or self.outcome in wanted:
            return True
        return "not_ok" in wanted and self.outcome != "ok"


class AdminActions:
    """Executes the admin actions of a timeline.

    Args:
        services: the shared parts of the run.
        resolver: resolves symbolic names.
        nodes: the simulated nodes, by id.

    Attributes:
        ops: the requests in the order in which they began.
    """

    def __init__(
        self, services: Services, resolver: SelectorResolver, nodes: Mapping[int, SimulatedNode]
    ) -> None:
        self._services = services
        self._engine = services.engine
        self._resolver = resolver
        self._nodes = nodes
        self.ops: list[AdminOperation] = []

    def begin(self, action: AdminAction, fault: Fault, rng: Random) -> None:
        """Begin an action. It ends at `until_us` of the fault at the latest.

        Raises:
            ActionNotReady: it names nodes to remove that cannot be resolved now.
        """
        removed: tuple[int, ...] = ()
        if isinstance(action, RemoveAction):
            removed = self._resolver.resolve(action.nodes, rng, among=self._members())
        elif isinstance(action, ChangeMembersAction) and action.remove is not None:
            removed = self._resolver.resolve(action.remove, rng, among=self._members())
        deadline = min(self._engine.now + action.timeout_ms * 1000, fault.until_us)
        op = AdminOperation(fault.name, action, removed, deadline, fault, rng)
        self.ops.append(op)
        self._engine.at(deadline, partial(self._on_timeout, op))
        self._try(op)

    def _members(self) -> tuple[int, ...]:
        """The members in the leader's configuration: those that can be removed."""
        leader = self._services.monitor.leader
        replica = self._nodes[leader].replica if leader is not None else None
        return () if replica is None else replica.core.membership.members()

    def _try(self, op: AdminOperation) -> None:
        if op.outcome is not None:
            return
        try:
            running = [node for node, sim_node in self._nodes.items() if sim_node.up]
            targets = self._resolver.resolve(op.action.at, op.rng, among=running)
        except ActionNotReady:
            targets = ()
        if not targets:
            self._finish_or_retry(op, "no_leader", "")
            return
        op.node = targets[0]
        left_ms = max(1, (op.deadline_us - self._engine.now) // 1000)
        timeout_ms = min(left_ms, _ATTEMPT_MS) if op.action.retry else left_ms
        op.attempts += 1
        attempt = op.attempts

        def make(request_id: int, membership: Membership) -> ReplicaEvent:
            return _event(op, request_id, membership, timeout_ms, self._public_key_of)

        def on_reply(reply: Reply | None) -> None:
            if attempt == op.attempts and op.outcome is None:
                self._on_reply(op, reply)

        if self._nodes[op.node].receive_admin_request(make, on_reply):
            op.fault.acted += 1
            self._services.trace.fault(self._engine.now, "act", op.name, [op.node])
        else:
            self._finish_or_retry(op, "lost", "the node is down")

    def _on_reply(self, op: AdminOperation, reply: Reply | None) -> None:
        if reply is None:
            self._finish_or_retry(op, "lost", "the node died")
        elif reply.error is None:
            self._finish_or_retry(op, "ok", "")
        elif isinstance(reply.error, ChangeRefused):
            self._finish_or_retry(op, reply.error.name, str(reply.error))
        else:
            self._finish_or_retry(op, reply.error.code, str(reply.error))

    def _public_key_of(self, node: int) -> str:
        sim_node = self._nodes.get(node)
        return "" if sim_node is None else sim_node.public_key

    def _finish_or_retry(self, op: AdminOperation, outcome: str, detail: str) -> None:
        """End with this outcome, or make another attempt."""
        op.last, op.detail = outcome, detail
        again = op.action.retry and outcome != "ok" and outcome not in _FINAL_REJECTIONS
        if again and self._engine.now + _PAUSE_US < op.deadline_us:
            self._engine.after(_PAUSE_US, partial(self._try, op))
        else:
            op.outcome = outcome

    def _on_timeout(self, op: AdminOperation) -> None:
        if op.outcome is None:
            op.outcome = op.last


def _event(
    op: AdminOperation,
    request_id: int,
    membership: Membership,
    timeout_ms: int,
    public_key_of: Callable[[int], str],
) -> ReplicaEvent:
    """The request, given the effective configuration of the node that receives it."""
    action = op.action
    match action:
        case AddLearnerAction():
            key = (
                ""
                if membership.key_of(action.node) or not membership.keys
                else public_key_of(action.node)
            )
            return AddLearner(request_id, action.node, address_of(action.node), timeout_ms, key)
        case TransferAction():
            return TransferLeader(request_id, action.to, timeout_ms)
        case ChangeMembersAction():
            return _change(action, op.removed, request_id, membership, timeout_ms, public_key_of)
        case RemoveAction():
            relative = ChangeMembersAction(learners=None, remove=action.nodes)
            return _change(relative, op.removed, request_id, membership, timeout_ms, public_key_of)
    raise AssertionError(f"{action.kind} is not an admin request")  # type: ignore[attr-defined]  # each action has a kind


def _change(
    action: ChangeMembersAction,
    removed: tuple[int, ...],
    request_id: int,
    membership: Membership,
    timeout_ms: int,
    public_key_of: Callable[[int], str],
) -> ChangeMembers:
    voters = action.voters
    if voters is None:
        voters = tuple(sorted({*membership.voters, *action.add} - {*removed}))
    learners = action.learners
    if learners is None:
        learners = tuple(sorted({*membership.learners} - {*voters} - {*removed}))
    added = sorted({*voters, *learners} - {*dict(membership.addresses)})
    addresses = tuple((node, address_of(node)) for node in added)
    keys = tuple((node, public_key_of(node)) for node in added) if membership.keys else ()
    return ChangeMembers(
        request_id, voters, learners, addresses, timeout_ms, action.expected_index, keys
    )
