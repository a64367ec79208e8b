"""`ActivityRequestHandler`: answers `GetActivity`, which the dashboard and `qcore top` ask every second."""

from __future__ import annotations

from typing import Protocol

from pydantic import JsonValue

from qcore.core.raft import RaftCore
from qcore.machines.permissions import Action
from qcore.node.access.access_gate import AccessGate
from qcore.node.activity_log import ActivityLog
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.status.activity_counters import activity_counters
from qcore.transport.server.handler import MessageHandler, ServerConnection, user_of
from qcore.transport.wire import GetActivity, GetActivityResponse


class ActivityView(Protocol):
    """What the handler needs from the node."""

    @property
    def metrics(self) -> NodeMetrics:
        """The node's counters."""
        ...

    @property
    def core(self) -> RaftCore:
        """The core, to look at its state."""
        ...


class ActivityRequestHandler:
    """Shows the newest events of a node. It changes nothing.

    Args:
        view: the node.
        log: its newest events.
        gate: knows what the user of a connection may do.

    Attributes:
        handlers: by the class of the message; see `ServerHandler`.
    """

    def __init__(self, view: ActivityView, log: ActivityLog, gate: AccessGate) -> None:
        self._view = view
        self._log = log
        self._gate = gate
        self.handlers: dict[type, MessageHandler] = {GetActivity: self._get_activity}

    def _get_activity(self, connection: ServerConnection, message: GetActivity) -> None:
        log, view = self._log, self._view
        now_us = log.wall_us()
        # A line may name users and addresses, so it is for those who run the cluster.
        rights: dict[str, JsonValue] = {
            "users_exist": self._gate.is_active,
            "user": user_of(connection) or None,
            "manage": self._may(connection, "manage"),
            "write": self._may(connection, "write"),
        }
        shows_lines = bool(rights["manage"])
        events = log.after(message.after, message.lines if shows_lines else 0)
        response: dict[str, JsonValue] = {
            "started_us": log.started_us,
            "now_us": now_us,
            "sequence": events[-1].sequence if events else message.after,
            "events": [event.as_json() for event in events],
            "lines_hidden": not shows_lines,
            "rights": rights,
            "counters": activity_counters(view.core, view.metrics, now_us),
        }
        connection.send(GetActivityResponse(message.id, response))

    def _may(self, connection: ServerConnection, action: Action) -> bool:
        if not self._gate.is_active:
            return True
        return self._gate.refusal(connection, action, GetActivity.__name__) is None
