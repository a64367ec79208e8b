"""Timeline actions on single messages: the next ones that match are lost, or held until they are released.

A held message waits outside its link: a cut that begins and ends meanwhile does not touch it, nor does a
crash of its sender. What is released arrives at once, in the order in which it was sent; on a link that is cut
at that moment it is lost, as everything that is under way on a cut link. Later messages overtake a held one.
What would not arrive anyway (see `Network.send`) is neither dropped nor held.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from qcore.core.messages import AppendEntries
from qcore.sim.faults.ledger import Fault
from qcore.sim.faults.selection import Namer
from qcore.sim.scenario.actions.message_actions import Drop, Hold, MessageAction, Release
from qcore.sim.scenario.values import Selector
from qcore.sim.world.network import Link
from qcore.sim.world.services import Services


@dataclass(slots=True, eq=False)
class _Trap:
    """An armed action.

    Attributes:
        sources, targets: whose messages it takes; None for anybody's.
        left: how many more; None for all.
        held: what it holds, in the order of sending.
    """

    action: MessageAction
    fault: Fault
    label: str
    sources: tuple[int, ...] | None
    targets: tuple[int, ...] | None
    left: int | None
    held: list[tuple[Link, object, str]] = field(default_factory=list)

    def wants(self, link: Link, payload: object) -> bool:
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
    """Sets traps for messages, and lets go what they hold.

    Args:
        services: the shared parts of the run.
        namer: resolves symbolic names, once, when the action fires.
    """

    def __init__(self, services: Services, namer: Namer) -> None:
        self._services = services
        self._network = services.network
        self._namer = namer
        self._traps: list[_Trap] = []

    def arm(
        self, action: Drop | Hold, fault: Fault, label: str, rng: Random
    ) -> Callable[[], object]:
        """Drop or hold matching messages that are sent from now on.

        Returns:
            What disarms it, and releases what it holds.

        Raises:
            NotYet: it names nodes that cannot be told at this moment.
        """
        left = None if action.times == "all" else action.times
        sources, targets = self._ends(action, rng)
        trap = _Trap(action, fault, label, sources, targets, left)
        self._traps.append(trap)
        self._network.intercept = self._take
        nodes = sorted({*(trap.sources or ()), *(trap.targets or ())})
        self._trace("begin", fault, nodes, ", ".join(action.message))
        return lambda: self._disarm(trap)

    def release(self, action: Release, fault: Fault) -> None:
        """Disarm the traps that hold messages, all or those with a label, and deliver what they hold."""
        self._trace("act", fault, [], action.label or "")
        for trap in list(self._traps):
            if isinstance(trap.action, Hold) and action.label in (None, trap.label):
                fault.acted += len(trap.held)
                self._disarm(trap)

    def _ends(
        self, action: MessageAction, rng: Random
    ) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
        """Whose messages, and to whom; None for anybody."""
        if action.source is not None and action.target is not None:
            sources, targets = self._namer.resolve_groups((action.source, action.target), rng)
            return sources, targets
        return self._ids(action.source, rng), self._ids(action.target, rng)

    def _ids(self, selector: Selector | None, rng: Random) -> tuple[int, ...] | None:
        return None if selector is None else self._namer.resolve(selector, rng)

    def _take(self, link: Link, payload: object, message_id: str) -> str | None:
        """Whether a trap keeps the message from its link; the first one that was armed goes first."""
        for trap in self._traps:
            if not trap.wants(link, payload):
                continue
            if trap.left is not None:
                trap.left -= 1
            trap.fault.acted += 1
            if isinstance(trap.action, Hold):
                trap.held.append((link, payload, message_id))
                ends = [(link.source, link.target)]
                self._trace("act", trap.fault, [], f"holds {message_id}", ends)
                return "held"
            if trap.left == 0:
                self._disarm(trap)
            return "dropped"
        return None

    def _disarm(self, trap: _Trap) -> None:
        if trap not in self._traps:
            return
        self._traps.remove(trap)
        if not self._traps:
            self._network.intercept = None
        self._trace("end", trap.fault, [], "")
        for link, payload, message_id in trap.held:
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
