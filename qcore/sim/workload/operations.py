"""Client operations and their outcomes, and the codecs that translate them for each kind of state machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, Protocol

from qcore.compiled_build import register_copies
from qcore.replica.messages import RequestKind
from qcore.sim.linearizability import Operation, OperationKind
from qcore.sim.scenario.specs.watcher_spec import REGISTER_TYPE
from qcore.trace import TraceWriter

Outcome = Literal["ok", "refused", "unknown"]
Value = str | int | None


@dataclass(init=False)
class ClientOperation:
    """One operation of a client, from invocation to outcome. Times in simulated microseconds.

    Attributes:
        kind: write, read or cas.
        value: the value to write; for a cas, the new value.
        expected: for a cas, the value to replace.
        deadline_us: when the client stops waiting.
        request, payload: the kind and the text of the request. A checker looks for the payload of a write in the log.
        only_node: the operation is sent to this node only, and only once.
        is_raw: no codec translates the payload and the output: the operation is a request to a custom machine, an
            increment, or a setup command. The checkers of registers skip it.
        attempt_us: if set, the client sends the operation to another node after this time without a response. Only
            requests in a session may be repeated.
        max_staleness_ms: the bound of a stale read.
        served_by, served_us: for the checkers: the node that sent the last response, and when.
        note: the reason for the outcome: an error's name, or what happened to the connection; empty after success.
        may_have_applied: whether an attempt without a response may have taken effect.
        then: called when the operation has an outcome.
        attempt: how often it was sent.
        in_flight: whether the client waits for a response.
        outcome: None while the operation is in progress.
        output: the value that a read found; whether a cas succeeded.
        answer: the text that the machine answered; None without an answer.
        index: the log index at which it took effect; 0 while unknown.
        term: for the checkers: the term of the entry at this index; 0 while unknown. It distinguishes the entry from
            another one with the same text.
    """

    client: int
    op_id: int
    kind: OperationKind
    key: str
    value: Value
    expected: Value
    invoke_us: int
    deadline_us: int
    request: RequestKind = "write"
    payload: str = ""
    only_node: int | None = None
    is_raw: bool = False
    attempt_us: int = 0
    max_staleness_ms: int = 0
    served_by: int = 0
    served_us: int = 0
    note: str = ""
    may_have_applied: bool = False
    then: Callable[[ClientOperation], None] | None = None
    attempt: int = 0
    in_flight: bool = False
    outcome: Outcome | None = None
    output: Value = None
    answer: str | None = None
    index: int = 0
    term: int = 0
    return_us: int = 0

    def __init__(
        self,
        client: int,
        op_id: int,
        kind: OperationKind,
        key: str,
        value: Value,
        expected: Value,
        invoke_us: int,
        deadline_us: int,
        request: RequestKind = "write",
        payload: str = "",
        only_node: int | None = None,
        is_raw: bool = False,
        attempt_us: int = 0,
        max_staleness_ms: int = 0,
        served_by: int = 0,
        served_us: int = 0,
        note: str = "",
        may_have_applied: bool = False,
        then: Callable[[ClientOperation], None] | None = None,
        attempt: int = 0,
        in_flight: bool = False,
        outcome: Outcome | None = None,
        output: Value = None,
        answer: str | None = None,
        index: int = 0,
        term: int = 0,
        return_us: int = 0,
    ) -> None:
        self.client = client
        self.op_id = op_id
        self.kind = kind
        self.key = key
        self.value = value
        self.expected = expected
        self.invoke_us = invoke_us
        self.deadline_us = deadline_us
        self.request = request
        self.payload = payload
        self.only_node = only_node
        self.is_raw = is_raw
        self.attempt_us = attempt_us
        self.max_staleness_ms = max_staleness_ms
        self.served_by = served_by
        self.served_us = served_us
        self.note = note
        self.may_have_applied = may_have_applied
        self.then = then
        self.attempt = attempt
        self.in_flight = in_flight
        self.outcome = outcome
        self.output = output
        self.answer = answer
        self.index = index
        self.term = term
        self.return_us = return_us

    @property
    def writes(self) -> bool:
        """Whether the request goes through the log."""
        return self.request in ("write", "session")

    @property
    def is_acknowledged_write(self) -> bool:
        """True once the client knows that the command was applied, even if the result is an error."""
        return self.index > 0 and self.writes

    def as_operation(self, *, stale_reads: bool = False) -> Operation | None:
        """The operation for a checker of registers; None if the checker must not see it.

        That is an operation that certainly had no effect, or a stale read. A stale read promises less than a
        linearizable one; `qcore.sim.verdict.staleness` judges it.

        Args:
            stale_reads: whether the checker sees stale reads.
        """
        if self.outcome == "refused" or (self.request == "stale_read" and not stale_reads):
            return None
        return Operation(
            self.client,
            self.op_id,
            self.key,
            self.kind,
            (self.expected, self.value) if self.kind == "cas" else self.value,
            self.output,
            self.invoke_us,
            self.return_us if self.outcome == "ok" else None,
        )


def trace_operation(
    trace: TraceWriter, t_us: int, node: int, op: ClientOperation, phase: str, note: str
) -> None:
    """Write the trace record of one phase of an operation: the value that it writes, or that its read found."""
    shown = op.output if op.kind == "read" else op.value
    trace.op(t_us, node, phase, op.client, op.op_id, op.kind, op.key, shown, note)


#: Draws the next request to a custom machine: a write or a read, and its payload.
RequestSource = Callable[[Random], tuple[RequestKind, str]]


class OperationCodec(Protocol):
    """Translates operations into requests to one kind of state machine, and results back."""

    @property
    def has_cas(self) -> bool:
        """Whether the machine can compare and set."""
        ...

    @property
    def setup(self) -> Sequence[str]:
        """The setup commands, to commit in this order before the clients begin."""
        ...

    def take_setup_result(self, number: int, result: str) -> None:
        """Receive the result of `setup[number]`."""
        ...

    def can_encode(self, key: str) -> bool:
        """Whether `encode` knows this register. Some machines need the setup first."""
        ...

    def encode(self, op: ClientOperation) -> tuple[RequestKind, str]:
        """The kind and payload of the request, for a register that the codec knows."""
        ...

    def watch_request(self, topic: str) -> str:
        """The text of a request to watch a register; with a custom machine, the topic itself."""
        ...

    def decode_result(self, op: ClientOperation, result: str) -> str | None:
        """Set `op.output` from the result. Returns the text of the error if the result is one, or None."""
        ...


class RegisterCodec:
    """Encodes operations for `qcore.machines.register.RegisterMachine`."""

    has_cas = True
    setup: Sequence[str] = ()

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}  # key -> JSON text, because few keys serve many operations

    def take_setup_result(self, number: int, result: str) -> None:
        raise AssertionError("the key-value machine needs no setup")

    def can_encode(self, key: str) -> bool:
        return True

    def encode(self, op: ClientOperation) -> tuple[RequestKind, str]:
        key = self._keys.get(op.key) or self._keys.setdefault(op.key, json.dumps(op.key))
        match op.kind:
            case "read":
                return "read", f'{{"op":"get","key":{key}}}'
            case "cas":
                return "write", (
                    f'{{"op":"cas","key":{key},"old":{json.dumps(op.expected)},'
                    f'"new":{json.dumps(op.value)}}}'
                )
            case _:
                return "write", f'{{"op":"set","key":{key},"value":{_json_text(op.value)}}}'

    def watch_request(self, topic: str) -> str:
        return topic

    def decode_result(self, op: ClientOperation, result: str) -> str | None:
        if op.kind == "write" and result == f'{{"ok":true,"value":{_json_text(op.value)}}}':
            return None  # the usual answer
        decoded = json.loads(result)
        if op.kind == "cas" and (decoded["ok"] or "value" in decoded):
            op.output = bool(decoded["ok"])
            return None
        if not decoded["ok"]:
            return str(decoded["error"])
        if op.kind == "read":
            op.output = decoded["value"]
        return None


class KeyValueCodec:
    """Encodes operations for `qcore.machines.kv.kv_machine.KeyValueMachine`. The text of a key is the value as JSON.

    A key that does not exist is a register that was never set, and setting it to null deletes it.
    """

    has_cas = True
    setup: Sequence[str] = ()

    def take_setup_result(self, number: int, result: str) -> None:
        raise AssertionError("the key-value machine needs no setup")

    def can_encode(self, key: str) -> bool:
        return True

    def encode(self, op: ClientOperation) -> tuple[RequestKind, str]:
        if op.kind == "read":
            return "read", json.dumps({"op": "range", "key": op.key})
        if op.kind == "cas":
            holds: dict[str, object] = {"key": op.key}
            if op.expected is None:
                holds["exists"] = False
            else:
                holds["value"] = json.dumps(op.expected)
            then = [_key_write(op.key, op.value)]
            return "write", json.dumps({"op": "txn", "if": [holds], "then": then})
        return "write", json.dumps(_key_write(op.key, op.value))

    def watch_request(self, topic: str) -> str:
        return json.dumps({"key": topic})

    def decode_result(self, op: ClientOperation, result: str) -> str | None:
        decoded = json.loads(result)
        if not decoded["ok"]:
            return str(decoded["error"])
        if op.kind == "cas":
            op.output = bool(decoded["succeeded"])
        elif op.kind == "read":
            found = decoded["kvs"]
            op.output = json.loads(found[0]["value"]) if found else None
        return None


def _key_write(key: str, value: Value) -> dict[str, object]:
    """The operation that sets a key, or deletes it if the value is null."""
    if value is None:
        return {"op": "delete", "key": key}
    return {"op": "put", "key": key, "value": json.dumps(value)}


def _json_text(value: Value) -> str:
    """The value as JSON."""
    return str(value) if type(value) is int else json.dumps(value)


class EntityCodec:
    """Encodes operations for `qcore.machines.entity.entity_store.EntityStore`. Each register is a field of one entity.

    The text of the field is the value as JSON. The schema's default, an empty text, means that the register was never
    written.

    Args:
        keys: how many registers the workload uses.
    """

    has_cas = False

    def __init__(self, keys: int) -> None:
        field = {
            "field_type": "Value",
            "default_value": "",
            "rank": 0,
            "read_permission": None,
            "write_permission": None,
        }
        schema = {
            "entity_type": REGISTER_TYPE,
            "inherit": None,
            "fields": {"Value": {"String": field}},
        }
        self._keys = [f"k{number}" for number in range(keys)]
        self._ids: dict[str, object] = {}
        self.setup: Sequence[str] = [
            json.dumps({"SetSchema": {"entity_schema": schema}}),
            *(
                json.dumps(
                    {
                        "CreateEntity": {
                            "entity_type": REGISTER_TYPE,
                            "parent_id": None,
                            "name": key,
                        }
                    }
                )
                for key in self._keys
            ),
        ]

    def take_setup_result(self, number: int, result: str) -> None:
        decoded = next(iter(json.loads(result).values()))
        assert decoded["error"] is None, f"the store rejects no setup command: {decoded['error']}"
        if number:
            self._ids[self._keys[number - 1]] = decoded["response"]

    def can_encode(self, key: str) -> bool:
        return key in self._ids

    def encode(self, op: ClientOperation) -> tuple[RequestKind, str]:
        read = op.kind == "read"
        body: dict[str, object] = {
            "entity_id": self._ids[op.key],
            "field_type": "Value",
            "value": None if read else {"String": json.dumps(op.value)},
            "write_time": None,
            "writer_id": None,
        }
        if not read:
            body |= {"push_condition": "Always", "adjust_behavior": "Set"}
        requests = [{"Read" if read else "Write": body}]
        return "read" if read else "write", json.dumps({"UpdateEntity": {"request": requests}})

    def watch_request(self, topic: str) -> str:
        # As a context, the field itself: a notice that is sent right after its command shows the same value twice.
        options = {"field_type": "Value", "trigger_on_change": False, "context": ["Value"]}
        if topic == REGISTER_TYPE:
            config = {"EntityType": {"entity_type": topic, **options}}
        else:
            config = {"EntityId": {"entity_id": self._ids[topic], **options}}
        # In the form of real nodes; see `qcore.machines.entity.watches.notification_config.request_text`.
        return json.dumps(config, separators=(",", ":"))

    def decode_result(self, op: ClientOperation, result: str) -> str | None:
        decoded = next(iter(json.loads(result).values()))
        if decoded["error"] is not None:
            return str(decoded["error"])
        if op.kind == "read":
            text = decoded["response"][0]["Read"]["value"]["String"]
            op.output = json.loads(text) if text else None
        return None


class CustomMachineCodec:
    """The codec of a custom machine. It encodes nothing, because a custom machine has no registers."""

    has_cas = False
    setup: Sequence[str] = ()

    def take_setup_result(self, number: int, result: str) -> None:
        raise AssertionError("a custom machine needs no setup")

    def can_encode(self, key: str) -> bool:
        return False

    def encode(self, op: ClientOperation) -> tuple[RequestKind, str]:
        raise AssertionError("World refuses scenarios that need registers of a custom machine")

    def watch_request(self, topic: str) -> str:
        return topic

    def decode_result(self, op: ClientOperation, result: str) -> str | None:
        raise AssertionError("results of raw requests are not decoded")


def codec_for(name: str, keys: int) -> OperationCodec:
    """The codec for a built-in state machine.

    Args:
        name: `register`, `kv` or `entity`.
        keys: how many registers the workload uses.
    """
    match name:
        case "entity":
            return EntityCodec(keys)
        case "kv":
            return KeyValueCodec()
        case _:
            return RegisterCodec()


register_copies(globals())
