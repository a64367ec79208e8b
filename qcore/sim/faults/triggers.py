"""The armed triggers of a timeline (`when`): the events that they wait for, and how nodes fire them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qcore.compiled_build import register_copies
from qcore.sim.scenario.timeline import EventKind, Trigger
from qcore.sim.scenario.values import Selector


@dataclass(frozen=True)
class NodeEvent:
    """One event at a node, with the properties by which triggers select events.

    Attributes:
        node: the node.
        message: for send and receive, the type of the message.
        peer: for send and receive, the other node; for vote, the candidate.
        role: for role, the new role.
        term: of the message, role, vote or applied entry; 0 if there is none.
        index: for commit and apply, the index; for durable, the last durable index of the log.
        is_sender: for send and receive, whether the node is the sender.
    """

    node: int
    message: str = ""
    peer: int = 0
    role: str = ""
    term: int = 0
    index: int = 0
    is_sender: bool = False


#: Whether a node is among those that a selector names now.
NodeFilter = Callable[[Selector, int], bool]
#: Acts on the event that fired a trigger.
EventAction = Callable[[NodeEvent], None]


class ArmedTrigger:
    """A trigger that waits for its event."""

    def __init__(
        self, trigger: Trigger, names: NodeFilter, times: int, action: EventAction
    ) -> None:
        self._trigger = trigger
        self._names = names
        self._action = action
        self.left = times

    def fire_if_matching(self, node_event: NodeEvent) -> None:
        """Act if the trigger waits for this event."""
        if self.left and self._matches(node_event):
            self.left -= 1
            self._action(node_event)

    def _matches(self, node_event: NodeEvent) -> bool:
        trigger = self._trigger
        return (
            trigger.message in (None, node_event.message)
            and trigger.role in (None, node_event.role)
            and trigger.term in (None, node_event.term)
            and (trigger.index is None or node_event.index >= trigger.index)
            and self._is_among(trigger.node, node_event.node)
            and self._is_among(trigger.own_end, node_event.node)
            and self._is_among(trigger.peer_end, node_event.peer)
        )

    def _is_among(self, selector: Selector | None, node: int) -> bool:
        return selector is None or self._names(selector, node)


class ArmedTriggers:
    """The armed triggers by kind of event. Nodes check the lists first, which are empty in most runs."""

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
        for waiting in (
            self.send,
            self.receive,
            self.role,
            self.vote,
            self.commit,
            self.apply,
            self.durable,
        ):
            waiting.clear()


def fire_matching(waiting: list[ArmedTrigger], node_event: NodeEvent) -> None:
    """Fire the triggers that wait for this event. `waiting` holds those of its kind."""
    for armed_trigger in list(waiting):
        armed_trigger.fire_if_matching(node_event)
        if not armed_trigger.left:
            waiting.remove(armed_trigger)


register_copies(globals())
