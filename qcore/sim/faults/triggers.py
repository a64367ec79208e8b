"""The armed triggers of a timeline (`when`): the events that they wait for, and how nodes fire them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qcore.sim.scenario.timeline import EventKind, Trigger


@dataclass(slots=True, frozen=True)
class NodeEvent:
    """One event at a node, with the properties by which triggers select events.

    Attributes:
        node: the node.
        message: for send and receive, the type of the message.
        peer: for send and receive, the other node; for vote, the candidate.
        role: for role, the new role.
        term: of the message, role, vote or applied entry; 0 if there is none.
        index: for commit and apply, the index; for durable, the last durable index of the log.
    """

    node: int
    message: str = ""
    peer: int = 0
    role: str = ""
    term: int = 0
    index: int = 0


#: Whether a node is among those that a trigger names.
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
        """Act if the trigger waits for this event."""
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
    """The armed triggers by kind of event. Nodes check the lists first, which are empty in most runs."""

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
        """Add a trigger that waits for events of a kind."""
        waiting: list[ArmedTrigger] = getattr(self, kind)
        waiting.append(armed_trigger)

    def disarm_all(self) -> None:
        """Forget all triggers."""
        for kind in self.__slots__:
            getattr(self, kind).clear()


def fire_matching(waiting: list[ArmedTrigger], node_event: NodeEvent) -> None:
    """Fire the triggers that wait for this event. `waiting` holds those of its kind."""
    for armed_trigger in list(waiting):
        armed_trigger.fire_if_matching(node_event)
        if not armed_trigger.left:
            waiting.remove(armed_trigger)
