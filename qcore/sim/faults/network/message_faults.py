"""Executes the timeline actions on single messages: drops the next matching ones, or holds them until their release.

A hold of all messages between two nodes holds their link, as turmoil does. A clog does this too, but within the link
(see `qcore.sim.world.network`).

A held message waits outside its link, and later messages overtake it. A cut that begins and ends meanwhile does not
affect it, nor does a crash of its sender. Released messages arrive immediately, in the order in which they were sent.
If their link is cut at that time they are lost, like every message in transit on a cut link. A message that would have
no effect on arrival (see `Network.send`) is neither dropped nor held.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from qcore.core.messages import AppendEntries
from qcore.sim.faults.ledger import Fault, Undo
from qcore.sim.faults.selector_resolver import SelectorResolver
from qcore.sim.scenario.actions.message_actions import (
    MESSAGES,
    Drop,
    Hold,
    MessageAction,
    Release,
)
from qcore.sim.scenario.values import Selector
from qcore.sim.world.network import Link
from qcore.sim.world.services import Services


@dataclass(slots=True, eq=False)
class _ArmedMessageAction:
    """An action that waits for messages.

    Attributes:
        sources, targets: takes messages between these nodes; None for all.
        left: how many more messages it takes; None for all.
        held: the messages that it holds, in the order of sending.
    """

    action: MessageAction
    fault: Fault
    sources: tuple[int, ...] | None
    targets: tuple[int, ...] | None
    left: int | None
    held: list[tuple[Link, object, str]] = field(default_factory=list)

    def matches(self, link: Link, payload: object) -> bool:
        action = self.action
        if type(payload).__name__ not in action.message or self.left == 0:
            return False
        if self.sources is not None and link.source not in self.sources:
            return False
        if self.targets is not None and link.target not in self.targets:
            return False
        if action.entries is None:
            return True
        return isinstance(payload, AppendEntries) and bool(payload.entries) == action.entries


class MessageActions:
    """Drops, holds and releases messages.

    Args:
        services: the shared parts of the run.
        resolver: resolves symbolic names when an action fires.
    """

    def __init__(self, services: Services, resolver: SelectorResolver) -> None:
        self._services = services
        self._network = services.network
        self._resolver = resolver
        self._armed_actions: list[_ArmedMessageAction] = []

    def arm(self, action: Drop | Hold, fault: Fault, rng: Random) -> Undo:
        """Drop or hold the matching messages that are sent from now on.

        Returns:
            Disarms the action and releases what it holds.

        Raises:
            ActionNotReady: it names nodes that cannot be resolved now.
        """
        left = None if action.times == "all" else action.times
        sources, targets = self._ends(action, rng)
        armed = _ArmedMessageAction(action, fault, sources, targets, left)
        self._armed_actions.append(armed)
        self._network.intercept = self._take
        nodes = sorted({*(armed.sources or ()), *(armed.targets or ())})
        names = "all messages" if action.message == MESSAGES else ", ".join(action.message)
        self._trace("begin", fault, nodes, names)
        return lambda: self._disarm(armed)

    def release(self, action: Release, fault: Fault, _rng: Random) -> None:
        """Disarm the actions that hold messages, all or those with a label, and deliver what they hold."""
        self._trace("act", fault, [], action.label or "")
        for armed in list(self._armed_actions):
            if isinstance(armed.action, Hold) and action.label in (None, armed.fault.label):
                fault.acted += len(armed.held)
                self._disarm(armed)

    def _ends(
        self, action: MessageAction, rng: Random
    ) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
        """The sources and targets of the messages; None for all nodes."""
        if action.source is not None and action.target is not None:
            sources, targets = self._resolver.resolve_groups((action.source, action.target), rng)
            return sources, targets
        return self._ids(action.source, rng), self._ids(action.target, rng)

    def _ids(self, selector: Selector | None, rng: Random) -> tuple[int, ...] | None:
        return None if selector is None else self._resolver.resolve(selector, rng)

    def _take(self, link: Link, payload: object, message_id: str) -> str | None:
        """Take the message from its link for the first armed action that matches. See `Interceptor`."""
        for armed in self._armed_actions:
            if not armed.matches(link, payload):
                continue
            if armed.left is not None:
                armed.left -= 1
            armed.fault.acted += 1
            if isinstance(armed.action, Hold):
                armed.held.append((link, payload, message_id))
                ends = [(link.source, link.target)]
                self._trace("act", armed.fault, [], f"holds {message_id}", ends)
                return "held"
            if armed.left == 0:
                self._disarm(armed)
            return "dropped"
        return None

    def _disarm(self, armed: _ArmedMessageAction) -> None:
        if armed not in self._armed_actions:
            return
        self._armed_actions.remove(armed)
        if not self._armed_actions:
            self._network.intercept = None
        self._trace("end", armed.fault, [], "")
        for link, payload, message_id in armed.held:
            self._network.deliver_now(link, payload, message_id)

    def _trace(
        self,
        phase: str,
        fault: Fault,
        nodes: list[int],
        note: str,
        links: list[tuple[int, int]] | None = None,
    ) -> None:
        now = self._services.engine.now
        self._services.trace.fault(now, phase, fault.name, nodes, links or [], note)
