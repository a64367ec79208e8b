"""`RestoreRequestHandler`: splits a `StoreRestoreSnapshot` into commands of the log, and submits them in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from qcore.errors import OutcomeUnknown, Overloaded, QcoreError, RemoteProtocolError, StoreError
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.requests.restore_commands import restore_commands
from qcore.machines.interface import StateMachine
from qcore.machines.limits import STORE_RULES
from qcore.node.api.perform_routing import ReplicaRequest, replica_request
from qcore.node.api.response_forms import StoreForm
from qcore.node.api.store.store_request_handler import other_machine, too_old
from qcore.node.application import Operation
from qcore.node.runtime.submit_event import GetPermission
from qcore.replica.events import ClientRequest, Reply
from qcore.runtime.interface import Runtime
from qcore.store_api.message_table import RESTORE, STORE_MESSAGES
from qcore.store_api.store_messages import StoreRestoreSnapshot
from qcore.transport.server.server import MessageHandler, ServerConnection, user_of

#: How often a part is submitted whose outcome is unknown. A part that was applied already does no harm.
_ATTEMPTS: Final = 3
#: The retry hint while another restore is in progress.
_RETRY_AFTER_MS: Final = 1000


class RestoreRequestHandler:
    """Handles `StoreRestoreSnapshot` in both spellings, one at a time.

    Args:
        machine: the node's state machine.
        active_rules: returns the active apply rules.
        get_permission: see `GetPermission`.
        max_command_bytes: the largest command.
        timeout_ms: how long each command may take.
        runtime: the world that the node runs in.

    Attributes:
        handlers: the handlers by class; see `ServerHandler`.
    """

    def __init__(
        self,
        machine: StateMachine,
        active_rules: Callable[[], int],
        get_permission: GetPermission,
        max_command_bytes: int,
        timeout_ms: int,
        runtime: Runtime,
    ) -> None:
        self._machine = machine
        self._active_rules = active_rules
        self._get_permission = get_permission
        self._max_command_bytes = max_command_bytes
        self._timeout_ms = timeout_ms
        self._runtime = runtime
        self._task: asyncio.Task[None] | None = None
        self.handlers: Mapping[type, MessageHandler] = {
            entry.cls: self._handle for entry in STORE_MESSAGES.values() if entry.request == RESTORE
        }

    def _handle(self, connection: ServerConnection, message: StoreRestoreSnapshot) -> None:
        name = type(message).__name__
        form = StoreForm(f"{name}Response", bare=False)
        rejection = self._rejection(connection, message, name)
        if rejection is not None:
            connection.send_encoded(form.failure(message.id, rejection))
            return
        self._task = asyncio.get_running_loop().create_task(
            self._restore(connection, message, form), name="restore"
        )

    def _rejection(
        self, connection: ServerConnection, message: StoreRestoreSnapshot, name: str
    ) -> QcoreError | None:
        if not isinstance(self._machine, EntityStore):
            return other_machine(name, self._machine)
        rules = self._active_rules()
        if rules < STORE_RULES:
            return too_old(name, rules)
        if self._task is not None and not self._task.done():
            return Overloaded(
                "this node is restoring another snapshot: wait until that request has its response",
                retry_after_ms=_RETRY_AFTER_MS,
            )
        permission = self._get_permission(connection, message)
        return permission.reject_all or permission.reject_writes

    async def _restore(
        self, connection: ServerConnection, message: StoreRestoreSnapshot, form: StoreForm
    ) -> None:
        try:
            token = self._runtime.new_token().replace("-", "")
            # A large snapshot takes longer than the event loop may wait.
            *parts, last = await self._runtime.run_long(
                partial(restore_commands, message.snapshot, token, self._max_command_bytes)
            )
            operation = Operation(RESTORE, "write", last)
            final = replica_request(operation, message.consistency, message.session, RESTORE)
        except (StoreError, RemoteProtocolError) as error:
            connection.send_encoded(form.failure(message.id, error))
            return
        for request in [*(ReplicaRequest("write", part) for part in parts), final]:
            attempts = 1 if request is final else _ATTEMPTS
            failed, result = await self._submitted(connection, message, request, attempts)
            if failed is not None:
                connection.send_encoded(form.failure(message.id, failed))
                return
            if request is final or StoreForm.is_failure(result):
                connection.send_encoded(form.success(message.id, result))
                return

    async def _submitted(
        self,
        connection: ServerConnection,
        message: StoreRestoreSnapshot,
        request: ReplicaRequest,
        attempts: int,
    ) -> tuple[QcoreError | None, str]:
        """Submit one command. Returns an error, or its result."""
        user = user_of(connection)
        while True:
            permission = self._get_permission(connection, message)
            rejection = permission.reject_all or permission.reject_writes
            if rejection is not None:
                return rejection, ""
            outcome: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            permission.submit_event(
                lambda number: ClientRequest(
                    number, request.kind, request.payload, self._timeout_ms, user=user
                ),
                outcome.set_result,
            )
            reply = await outcome
            attempts -= 1
            if not attempts or not isinstance(reply.error, OutcomeUnknown):
                return reply.error, reply.result or ""
