"""Client operations: what is asked, how it is put to the state machine, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, Protocol

from qcore.replica.messages import RequestKind
from qcore.sim.linearizability import Operation, OperationKind

Outcome = Literal["ok", "refused", "unknown"]
Value = str | int | None


@dataclass(slots=True)
class ClientOperation:
    """One operation of a client, from invocation to outcome. Times in simulated microseconds.

    Attributes:
        kind: write, read or cas.
        value: what is written; for a cas the new value.
        expected: for a cas, the value it wants to replace.
        outcome: None while it is under way.
        output: what a read found; whether a cas succeeded.
        index: the log index that it took effect at, 0 while unknown.
        term: for the checkers, the term of the entry at this index, 0 while unknown: it tells the entry from another
            with the same text.
        payload: the command, for a check that it is still in the log at the end.
        only_node: sent to this node and to no other, once.
        is_raw: a request to a machine of the user's own, an increment, or one that prepares the run: `output` is
            the answer as it is, and the checkers of registers do not see it.
        attempt_us: if set, send it again elsewhere when no answer came for so long: only for what a session
            makes harmless to repeat.
        max_staleness_ms: how old the state may be that a stale read sees.
        served_by, served_us: for the checkers, which node gave the last answer, and when.
        note: why it ended so: an error's name, or what happened to the connection; empty if it went well.
        may_have_applied: some attempt may have taken effect though its answer never came.
        then: called when it has an outcome.
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
    index: int = 0
    term: int = 0
    return_us: int = 0

    @property
    def writes(self) -> bool:
        """Whether it goes through the log."""
        return self.request in ("write", "session")

    @property
    def is_acknowledged_write(self) -> bool:
        """True once the client was told that the command was applied, also if the machine refused it."""
        return self.index > 0 and self.writes

    def as_operation(self) -> Operation | None:
        """For the linearizability checker; None if it certainly had no effect.

        Nor does it get stale reads, which promise less: `qcore.sim.verdict.staleness` judges them.
        """
        if self.outcome == "refused" or self.request == "stale_read":
            return None
        return Operation(
            client=self.client,
            op_id=self.op_id,
            key=self.key,
            kind=self.kind,
            input=(self.expected, self.value) if self.kind == "cas" else self.value,
            output=self.output,
            invoke_us=self.invoke_us,
            return_us=self.return_us if self.outcome == "ok" else None,
        )


#: Draws what a client asks next of a machine of the user's own: a write or a read, and its payload.
RequestSource = Callable[[Random], tuple[RequestKind, str]]


class OperationCodec(Protocol):
    """How operations are said to one kind of state machine."""

    @property
    def has_cas(self) -> bool:
        """Whether the machine can compare and set."""
        ...

    @property
    def setup(self) -> Sequence[str]:
        """Commands to commit, in this order, before the clients begin."""
        ...

    def take_setup_result(self, number: int, result: str) -> None:
        """The result of `setup[number]`."""
        ...

    def can_encode(self, key: str) -> bool:
        """Whether `encode` can speak of this register now."""
        ...

    def encode(self, op: ClientOperation) -> tuple[RequestKind, str]:
        """The kind of request and its payload, for a key that it knows."""
        ...

    def decode_result(self, op: ClientOperation, result: str) -> str | None:
        """Put the result into `op.output`; returns an error's text if the machine refused."""
        ...


class KeyValueCodec:
    """Speaks to `qcore.machines.register.KeyValueMachine`."""

    has_cas = True
    setup: Sequence[str] = ()

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}  # key -> as JSON; there are few keys and many operations

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
                return "write", f'{{"op":"set","key":{key},"value":{json.dumps(op.value)}}}'

    def decode_result(self, op: ClientOperation, result: str) -> str | None:
        answer = json.loads(result)
        if op.kind == "cas" and (answer["ok"] or "value" in answer):
            op.output = bool(answer["ok"])
            return None
        if not answer["ok"]:
            return str(answer["error"])
        if op.kind == "read":
            op.output = answer["value"]
        return None


class EntityCodec:
    """Speaks to `qcore.machines.entity.entity_store.EntityStore`: register k is a text field of an entity of its own.

    The text is the value as JSON; the schema's default, an empty text, stands for a register that was
    never written.
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
            "entity_type": "Register",
            "inherit": None,
            "fields": {"Value": {"String": field}},
        }
        self._keys = [f"k{number}" for number in range(keys)]
        self._ids: dict[str, object] = {}
        self.setup: Sequence[str] = [
            json.dumps({"SetSchema": {"entity_schema": schema}}),
            *(
                json.dumps(
                    {"CreateEntity": {"entity_type": "Register", "parent_id": None, "name": key}}
                )
                for key in self._keys
            ),
        ]

    def take_setup_result(self, number: int, result: str) -> None:
        answer = next(iter(json.loads(result).values()))
        assert answer["error"] is None, f"the store refuses no set-up: {answer['error']}"
        if number:
            self._ids[self._keys[number - 1]] = answer["response"]

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

    def decode_result(self, op: ClientOperation, result: str) -> str | None:
        answer = next(iter(json.loads(result).values()))
        if answer["error"] is not None:
            return str(answer["error"])
        if op.kind == "read":
            text = answer["response"][0]["Read"]["value"]["String"]
            op.output = json.loads(text) if text else None
        return None


class UserMachineCodec:
    """For a machine of the user's own: there are no registers to speak of."""

    has_cas = False
    setup: Sequence[str] = ()

    def take_setup_result(self, number: int, result: str) -> None:
        raise AssertionError("a machine of the user's own needs no setup")

    def can_encode(self, key: str) -> bool:
        return False

    def encode(self, op: ClientOperation) -> tuple[RequestKind, str]:
        raise AssertionError(
            "World refuses scenarios that ask a machine of the user's own for registers"
        )

    def decode_result(self, op: ClientOperation, result: str) -> str | None:
        raise AssertionError("plain requests are understood as they are")
