"""Handles the messages of the entity store: turns each into a request for the replica, as `Perform` is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from qcore.errors import IncompatibleVersion, QcoreError, Refused, RemoteProtocolError
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import StateMachine
from qcore.machines.limits import STORE_RULES
from qcore.node.api.perform_routing import ReplicaRequest, replica_request
from qcore.node.api.response_forms import ResponseForm, StoreForm
from qcore.node.application import Operation
from qcore.store_api.message_table import RESTORE, STORE_MESSAGES, StoreMessage
from qcore.transport.server.server import MessageHandler, ServerConnection
from qcore.transport.wire import error_envelope

#: Submits an operation: its connection, message id, form, operation and request for the replica.
SubmitOperation = Callable[[ServerConnection, str, ResponseForm, Operation, ReplicaRequest], None]


class StoreRequestHandler:
    """Handles the messages of the entity store at a node.

    Args:
        machine: the node's state machine.
        active_rules: returns the active apply rules.
        submit: submits an operation.

    Attributes:
        handlers: the handlers by class; see `ServerHandler`.
    """

    def __init__(
        self, machine: StateMachine, active_rules: Callable[[], int], submit: SubmitOperation
    ) -> None:
        self._machine = machine
        self._active_rules = active_rules
        self._submit = submit
        self.handlers: Mapping[type, MessageHandler] = {
            entry.cls: self._handler(entry)
            for entry in STORE_MESSAGES.values()
            if entry.request != RESTORE
        }

    def _handler(self, entry: StoreMessage) -> MessageHandler:
        form = StoreForm(entry.response.__name__, bare=entry.bare)
        # `Any`: each message has its own class.
        return lambda connection, message: self._handle(connection, message, entry, form)

    def perform(self, connection: ServerConnection, message: Any) -> None:
        """Handle a `Perform` with `requests`, which is `StorePerform` in the other spelling."""
        self._handle(connection, message, _PERFORM, _PERFORM_FORM)

    def _handle(
        self, connection: ServerConnection, message: Any, entry: StoreMessage, form: StoreForm
    ) -> None:
        name = entry.name
        if not isinstance(self._machine, EntityStore):
            connection.send_encoded(form.failure(message.id, other_machine(name, self._machine)))
            return
        try:
            kind, payload = entry.payload(message)
            operation = Operation(name, kind, payload)
            request = replica_request(operation, message.consistency, message.session, name)
        except RemoteProtocolError as error:
            connection.send(error_envelope(message.id, error))
            return
        rules = self._active_rules()
        if kind == "write" and rules < STORE_RULES:
            connection.send_encoded(form.failure(message.id, too_old(name, rules)))
            return
        self._submit(connection, message.id, form, operation, request)


def other_machine(name: str, machine: StateMachine) -> QcoreError:
    """The error for a message of the entity store to a node that runs another machine."""
    return Refused(
        f"{name}: this node runs the state machine {machine.name!r}, and the message is one of the entity store: use "
        "Perform, or a cluster that was started with --machine entity"
    )


def too_old(name: str, rules: int) -> QcoreError:
    """The error for a message that writes while the cluster has older apply rules."""
    return IncompatibleVersion(
        f"{name} needs the apply rules {STORE_RULES}, and the cluster has the rules {rules}: they rise by themselves "
        "once every member runs this version of qcore and is connected; until then use Perform"
    )


_PERFORM: Final = replace(STORE_MESSAGES["StorePerform"], name="Perform")
_PERFORM_FORM: Final = StoreForm("PerformResponse", bare=False)
