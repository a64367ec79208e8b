"""`Application`: what a node replicates: a state machine and the `Perform` requests for it.

`EntityApplication` is the entity store of the wire protocol. `TextApplication` lets a node run any state machine: its
commands and queries are texts that the state machine understands.

    run_node(config, TextApplication(MyMachine()))
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pydantic import with_config
from typing_extensions import TypedDict

from qcore.errors import ConfigError, QcoreError, StoreError, to_wire
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.filter.entity_filter import load_filter_library
from qcore.machines.entity.requests.perform_requests import (
    FieldRequest,
    PerformRequest,
    encode_request,
)
from qcore.machines.entity.topology.topology_file import parse_topology
from qcore.machines.interface import StateMachine
from qcore.machines.kv.kv_machine import KeyValueMachine
from qcore.machines.loader import load_machine
from qcore.machines.register import RegisterMachine
from qcore.replica.messages import RequestKind
from qcore.store_api.message_table import STORE_MESSAGES
from qcore.store_api.quick_perform import read_perform, read_store_perform
from qcore.store_api.watch_messages import WATCH_MESSAGES
from qcore.transport.codec.codec import Codec
from qcore.transport.codec.frame_bounds import FrameBounds
from qcore.transport.codec.quick_readers import Reader
from qcore.transport.perform_options import Consistency, SessionUse
from qcore.transport.wire import REGISTRY, MessageId


@dataclass(slots=True)  # not frozen, which takes three times as long to make
class Operation:
    """A client's request, ready for the replica.

    Attributes:
        name: the request's name on the wire; the response to a failed request needs it.
        kind: `write` or `read`.
        payload: the command or query for the state machine.
    """

    name: str
    kind: RequestKind
    payload: str


class Application(Protocol):
    """A state machine and its requests."""

    @property
    def machine(self) -> StateMachine:
        """The state machine. Only the replica may change it."""
        ...

    @property
    def perform_type(self) -> type:
        """The dataclass that `Perform` messages are validated as.

        It has `id`, `request`, `consistency` and `session`; see `qcore.transport.perform_options`.
        """
        ...

    def operation(self, request: Any) -> Operation:
        """The operation for a `Perform.request` that was validated as `perform_type`.

        Raises:
            StoreError: the request is not valid; the client gets the text.
        """
        ...

    def success(self, name: str, result: str) -> str:
        """The JSON of `PerformResponse.response` for an operation with this result of the state machine."""
        ...

    def failure(self, name: str, error: QcoreError) -> str:
        """The JSON of `PerformResponse.response` for an operation that ended with `error`."""
        ...

    def topology_command(self, text: str, source: str) -> str:
        """The command that loads a topology file into a pristine state machine.

        Raises:
            ConfigError: the file is malformed (`source:line: reason`), or the state machine has no such command.
        """
        ...

    def is_pristine(self) -> bool:
        """Whether nothing was written to the state machine yet. Only then may a topology be loaded."""
        ...


@dataclass(slots=True)
class EntityPerform:
    """`Perform` of the entity store, with `request` or `requests`.

    Attributes:
        request: one request.
        requests: reads and writes, as in `StorePerform`.
        consistency: how the request is served if it only reads.
        session: apply the command once, however often it is sent.
    """

    id: MessageId
    request: PerformRequest | None = None
    requests: list[FieldRequest] | None = None
    consistency: Consistency = "linearizable"
    session: SessionUse | None = None


class EntityApplication:
    """The entity store, with the requests of the wire protocol.

    Args:
        machine: the store; a new one by default.
    """

    perform_type: type = EntityPerform

    def __init__(self, machine: EntityStore | None = None) -> None:
        self.machine = machine or EntityStore()
        load_filter_library()  # now, and not in the step of the replica that evaluates the first filter
        self._pristine_hash = EntityStore().state_hash()

    def operation(self, request: PerformRequest) -> Operation:
        """See `Application.operation`."""
        kind, payload = encode_request(request)
        return Operation(next(iter(request)), kind, payload)

    def success(self, name: str, result: str) -> str:
        """The store's result is the response itself."""
        return result

    def failure(self, name: str, error: QcoreError) -> str:
        """The shape of the command's response, with the error's text and detail."""
        text, detail = to_wire(error)
        body: dict[str, object] = {"error": text, "detail": detail}
        if name == "UpdateEntity":
            body = {"response": [], **body}
        elif name in ("CreateEntity", "GetSchema", "GetCompleteSchema"):
            body = {"response": None, **body}
        return json.dumps({name: body})

    def topology_command(self, text: str, source: str) -> str:
        """See `Application.topology_command`."""
        return parse_topology(text, source).command()

    def is_pristine(self) -> bool:
        """See `Application.is_pristine`."""
        return self.machine.state_hash() == self._pristine_hash


@with_config({"extra": "forbid", "strict": True})
class TextRequest(TypedDict, total=False):
    """`{"Write": command}` or `{"Read": query}`."""

    Write: str
    Read: str


@dataclass(slots=True)
class TextPerform:
    """`Perform` of a state machine whose commands are text."""

    id: MessageId
    request: TextRequest
    consistency: Consistency = "linearizable"
    session: SessionUse | None = None


class TextApplication:
    """Any state machine: `{"Write": command}` goes through the log, `{"Read": query}` is a linearizable read.

    The response is `{"Write": {"response": text, "error": null}}` with the state machine's result as text, and likewise
    for `Read`.
    """

    perform_type: type = TextPerform

    def __init__(self, machine: StateMachine) -> None:
        self.machine = machine

    def operation(self, request: TextRequest) -> Operation:
        """See `Application.operation`."""
        if len(request) != 1:
            raise StoreError('a request is {"Write": command} or {"Read": query}, one of them')
        if "Write" in request:
            return Operation("Write", "write", request["Write"])
        return Operation("Read", "read", request["Read"])

    def success(self, name: str, result: str) -> str:
        """The state machine's result, which may be any text."""
        # Not escaped to ASCII: a result within its bound could then be too large for a frame.
        return json.dumps({name: {"response": result, "error": None}}, ensure_ascii=False)

    def failure(self, name: str, error: QcoreError) -> str:
        """`{"Write": {"response": null, "error": text, "detail": {...}}}`, and likewise for `Read`."""
        text, detail = to_wire(error)
        return json.dumps({name: {"response": None, "error": text, "detail": detail}})

    def topology_command(self, text: str, source: str) -> str:
        """Raise `ConfigError`: only the entity store has a topology."""
        raise ConfigError(
            f"{source}: a topology is for the entity store; start without a config file"
        )

    def is_pristine(self) -> bool:
        """False: there is nothing to load."""
        return False


def node_codec(perform_type: type, max_command_bytes: int) -> Codec:
    """A codec for a node. It takes long to make. Several nodes may share one in the same thread.

    Args:
        perform_type: see `Application.perform_type`.
        max_command_bytes: the largest command.
    """
    readers: dict[str, Reader] = {"StorePerform": read_store_perform}
    if perform_type is EntityPerform:
        readers["Perform"] = partial(read_perform, EntityPerform)
    return Codec(
        {
            **REGISTRY,
            "Perform": perform_type,
            **{name: entry.cls for name, entry in STORE_MESSAGES.items()},
            **WATCH_MESSAGES,
        },
        FrameBounds.for_commands(max_command_bytes),
        readers,
    )


def application_of(machine: str) -> Application:
    """The application that serves the state machine of this name; see `NodeConfig.machine`.

    Raises:
        ConfigError: the name is unknown, or the file, module or class does not exist.
    """
    if machine == "entity":
        return EntityApplication()
    if machine == "kv":
        return TextApplication(KeyValueMachine())
    if machine == "register":
        return TextApplication(RegisterMachine())
    if ":" not in machine:
        raise ConfigError(
            f"no state machine is called {machine!r}: choose --machine entity, kv, register, or FILE.py:CLASS"
        )
    return TextApplication(load_machine(machine, Path())())
