"""Where a run can be interrupted: the events that a timeline's `when` listens to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qcore.sim.scenario.timeline import EventKind, Trigger


@dataclass(slots=True, frozen=True)
class NodeEvent:
    """One event at a node, as far as triggers can tell events apart.

    Attributes:
        node: where.
        message, peer: for send and receive, the message's type, and whom it goes to or comes from.
        role: for role, the role taken; for vote unused.
        term: of the message, role or vote; 0 where none is known.
        index: for commit and apply; for durable the log's last durable entry.
    """

    node: int
    message: str = ""
    peer: int = 0
    role: str = ""
    term: int = 0
    index: int = 0


#: Says whether a node is among those that a trigger names.
NodeFilter = Callable[[int], bool]


class ArmedTrigger:
    """A trigger that waits for its event."""

    def __init__(
        self, trigger: Trigger, matches_node: NodeFilter, times: int, action: Callable[[], None]
    ) -> None:
        self._trigger = trigger
        self._matches_node = matches_node
        self._action = action
        self.left = times

    def fire_if_matching(self, node_event: NodeEvent) -> None:
        """Act if this is what the trigger waits for."""
        if self.left and self._matches(node_event):
            self.left -= 1
            self._action()

    def _matches(self, node_event: NodeEvent) -> bool:
        trigger = self._trigger
        peer = trigger.to if trigger.event == "send" else trigger.source
        return (
            trigger.message in (None, node_event.message)
            and peer in (None, node_event.peer)
            and trigger.role in (None, node_event.role)
            and trigger.term in (None, node_event.term)
            and (trigger.index is None or node_event.index >= trigger.index)
            and (trigger.node is None or self._matches_node(node_event.node))
        )


class ArmedTriggers:
    """The armed triggers by kind of event. Nodes look at the lists, which are empty in most runs."""

    __slots__ = ("apply", "commit", "durable", "receive", "role", "send", "vote")

    def __init__(self) -> None:
        self.send: list[ArmedTrigger] = []
        self.receive: list[ArmedTrigger] = []
        self.role: list[ArmedTrigger] = []
        self.vote: list[ArmedTrigger] = []
        self.commit: list[ArmedTrigger] = []
        self.apply: list[ArmedTrigger] = []
        self.durable: list[ArmedTrigger] = []

    def arm(self, kind: EventKind, armed_trigger: ArmedTrigger) -> None:
        """Let a trigger wait for events of a kind."""
        waiting: list[ArmedTrigger] = getattr(self, kind)
        waiting.append(armed_trigger)


def fire_matching(waiting: list[ArmedTrigger], node_event: NodeEvent) -> None:
    """Show an event to all triggers that wait for its kind."""
    for armed_trigger in list(waiting):
        armed_trigger.fire_if_matching(node_event)
        if not armed_trigger.left:
            waiting.remove(armed_trigger)
