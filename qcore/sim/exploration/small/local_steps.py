"""`LocalSteps`: what each node state does on each choice, computed once.

A node's step depends on its state and the choice only, and most of the many states of a cluster share few states of
single nodes. So each state of a node gets a number, and each pair of state and choice is given to the real core once.
A step of the cluster then costs a look-up. Guerraoui and Yabandeh ("Model Checking a Networked System Without the
Network", NSDI 2011) use the same separation.
"""

from __future__ import annotations

from typing import NamedTuple

from qcore.core.entry import Membership
from qcore.core.events import (
    Campaign,
    ChangeMembership,
    Event,
    MessageReceived,
    Propose,
    ReadRequested,
    SnapshotTaken,
    TransferLeadership,
)
from qcore.core.messages import PreVoteResponse, RaftMessage
from qcore.sim.exploration.bounds import Bounds
from qcore.sim.exploration.small.choices import Choice
from qcore.sim.exploration.small.fingerprints import Fingerprint, of_log, of_message
from qcore.sim.exploration.small.local_node import LocalNode, StepReport


class InFlight(NamedTuple):
    """A message in flight."""

    sender: int
    receiver: int
    message: RaftMessage


class Outcome(NamedTuple):
    """What a choice does to its node.

    Attributes:
        local: number of the node's next state.
        sent: numbers of the messages that left.
        report: what the checks of the history need; None if there is nothing for them.
        number: names this outcome in other tables.
    """

    local: int
    sent: tuple[int, ...]
    report: StepReport | None
    number: int


class LocalSteps:
    """Numbers for states of nodes, messages and choices, and the outcomes of steps.

    Args:
        bounds: decide the settings of the nodes.

    Attributes:
        states: the states of nodes by number.
        messages: the messages by number.
        choices: the choices by number.
        log_numbers: for each state the number of its log.
        core_steps: how often a real core took a step.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.states: list[LocalNode] = []
        self.fingerprints: list[Fingerprint] = []
        self.log_numbers: list[int] = []
        self.messages: list[InFlight] = []
        self.message_fingerprints: list[Fingerprint] = []
        self.choices: list[Choice] = []
        self.core_steps = 0
        self._state_numbers: dict[Fingerprint, int] = {}
        self._message_numbers: dict[Fingerprint, int] = {}
        self._choice_numbers: dict[Choice, int] = {}
        self._logs: dict[Fingerprint, int] = {}
        self._outcomes: dict[int, Outcome | None] = {}
        self._offers: dict[int, tuple[int, ...]] = {}
        self._made = 0

    def state_number(self, node: LocalNode) -> int:
        """The number of a node's state; equal states share it."""
        found = node.fingerprint()
        number = self._state_numbers.get(found)
        if number is None:
            number = self._state_numbers[found] = len(self.states)
            self.states.append(node)
            self.fingerprints.append(found)
            log = of_log(node.core._server.log)
            self.log_numbers.append(self._logs.setdefault(log, len(self._logs)))
        return number

    def message_number(self, sender: int, receiver: int, message: RaftMessage) -> int:
        """The number of a message; equal messages share it."""
        found = of_message(sender, receiver, message)
        number = self._message_numbers.get(found)
        if number is None:
            number = self._message_numbers[found] = len(self.messages)
            self.messages.append(InFlight(sender, receiver, message))
            self.message_fingerprints.append(found)
        return number

    def choice_number(self, choice: Choice) -> int:
        """The number of a choice."""
        number = self._choice_numbers.get(choice)
        if number is None:
            number = self._choice_numbers[choice] = len(self.choices)
            self.choices.append(choice)
        return number

    def outcome(self, local: int, choice: int) -> Outcome | None:
        """What the choice does to a node in this state; None if it changes nothing and sends nothing."""
        key = local << 32 | choice
        try:
            return self._outcomes[key]
        except KeyError:
            return self._outcomes.setdefault(key, self._compute(local, self.choices[choice]))

    def offers(self, local: int) -> tuple[int, ...]:
        """The choices that a node in this state offers by itself, without a message. Some need a number."""
        found = self._offers.get(local)
        if found is None:
            found = self._offers[local] = tuple(
                [self.choice_number(choice) for choice in self._offered(self.states[local])]
            )
        return found

    def durable_term(self, local: int) -> int:
        """A term that a node in this state will never be below again, not even after a crash."""
        return self.states[local].durable.hard_state.term

    def is_lost_in(self, message: int, term: int) -> bool:
        """Whether the bounds lose a message that is on its way to a receiver whose durable term is `term`."""
        if self._bounds.late_messages:
            return False
        late = self.messages[message].message
        return late.term < term and not isinstance(late, PreVoteResponse)

    def leads(self, local: int) -> bool:
        """Whether a node in this state leads."""
        return self.states[local].core.role == "leader"

    def _offered(self, node: LocalNode) -> list[Choice]:
        core, bounds = node.core, self._bounds
        me, found = core.node_id, list[Choice]()
        if node.unsynced:
            found.append(Choice("sync", me))
        if core.role == "leader":
            found += [
                Choice("transfer", me, voter) for voter in core.membership.voters if voter != me
            ]
            if bounds.changes:
                found += [Choice("change", me, mask) for mask in self._changes(core.membership)]
            if bounds.heartbeats:
                found.append(Choice("heartbeat", me))
        elif core.membership.is_voter(me):
            found.append(Choice("timeout", me))
        if core.status().applied_index > core.status().snapshot_index and bounds.snapshots:
            found.append(Choice("snapshot", me))
        kept = range(len(node.unsynced) + 1)
        found += [Choice("crash", me, count) for count in kept]
        return found

    def _changes(self, current: Membership) -> list[int]:
        """The sets of voters that a change may lead to: up to one more or one less than at the beginning."""
        nodes = self._bounds.nodes + self._bounds.spares
        sizes = range(max(1, self._bounds.nodes - 1), self._bounds.nodes + 2)
        return [
            mask
            for mask in range(1, 1 << nodes)
            if mask.bit_count() in sizes and voters_in(mask) != current.voters
        ]

    def _compute(self, local: int, choice: Choice) -> Outcome | None:
        self.core_steps += 1
        before = self.states[local]
        after, report = self._step(before, choice)
        sender = before.core.node_id
        number = self.state_number(after)
        sent = tuple(
            sorted([self.message_number(sender, to, message) for to, message in report.sent])
        )
        noted = report.led or report.applied or report.restored or report.read or report.broken
        if number == local and not sent and not noted:
            return None
        self._made += 1
        return Outcome(number, sent, report if noted else None, self._made)

    def _step(self, node: LocalNode, choice: Choice) -> tuple[LocalNode, StepReport]:
        sync = self._bounds.sync
        match choice.kind:
            case "sync":
                return node.sync(sync)
            case "crash":
                return node.crash(choice.argument, sync)
            case "heartbeat":
                return node.heartbeat(sync)
            case _:
                return node.step(self._event(node, choice), sync)

    def _event(self, node: LocalNode, choice: Choice) -> Event:
        match choice.kind:
            case "deliver":
                flying = self.messages[choice.argument]
                return MessageReceived(flying.sender, flying.message)
            case "timeout":
                return Campaign()
            case "write":
                return Propose([f"w{choice.argument}"], 0)
            case "read":
                return ReadRequested(choice.argument)
            case "transfer":
                return TransferLeadership(choice.argument)
            case "snapshot":
                applied = node.core.status().applied_index
                return SnapshotTaken(applied, f"state at {applied}")
            case "change":
                return _change(choice.argument)
            case other:
                raise AssertionError(f"no event for the choice {other}")


def voters_in(mask: int) -> tuple[int, ...]:
    """The voters that the argument of a change names: node n is bit n - 1."""
    return tuple([bit + 1 for bit in range(mask.bit_length()) if mask >> bit & 1])


def _change(mask: int) -> ChangeMembership:
    voters = voters_in(mask)
    addresses = tuple([(node, address_of(node)) for node in voters])
    return ChangeMembership(voters, (), addresses, 0)


def address_of(node: int) -> str:
    """The address of a node in configurations; no node uses it."""
    return f"node{node}:1"
