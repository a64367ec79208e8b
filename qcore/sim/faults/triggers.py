"""Where a run can be interrupted: the events that a timeline's `when` listens to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qcore.sim.scenario.timeline import EventKind, Trigger


@dataclass(slots=True, frozen=True)
class Happening:
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


class Armed:
    """A trigger that waits for its event."""

    def __init__(
        self, trigger: Trigger, is_meant: NodeFilter, times: int, action: Callable[[], None]
    ) -> None:
        self._trigger = trigger
        self._is_meant = is_meant
        self._action = action
        self.left = times

    def offer(self, happening: Happening) -> None:
        """Act if this is what the trigger waits for."""
        if self.left and self._matches(happening):
            self.left -= 1
            self._action()

    def _matches(self, happening: Happening) -> bool:
        trigger = self._trigger
        peer = trigger.to if trigger.event == "send" else trigger.source
        return (
            trigger.message in (None, happening.message)
            and peer in (None, happening.peer)
            and trigger.role in (None, happening.role)
            and trigger.term in (None, happening.term)
            and (trigger.index is None or happening.index >= trigger.index)
            and (trigger.node is None or self._is_meant(happening.node))
        )


class Hooks:
    """The armed triggers by kind of event. Nodes look at the lists, which are empty in most runs."""

    __slots__ = ("apply", "commit", "durable", "receive", "role", "send", "vote")

    def __init__(self) -> None:
        self.send: list[Armed] = []
        self.receive: list[Armed] = []
        self.role: list[Armed] = []
        self.vote: list[Armed] = []
        self.commit: list[Armed] = []
        self.apply: list[Armed] = []
        self.durable: list[Armed] = []

    def arm(self, kind: EventKind, armed: Armed) -> None:
        """Let a trigger wait for events of a kind."""
        waiting: list[Armed] = getattr(self, kind)
        waiting.append(armed)


def offer(waiting: list[Armed], happening: Happening) -> None:
    """Show an event to all triggers that wait for its kind."""
    for armed in list(waiting):
        armed.offer(happening)
        if not armed.left:
            waiting.remove(armed)
