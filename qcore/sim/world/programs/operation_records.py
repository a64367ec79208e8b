"""Turns the calls of a client program into operations of the run's history, and writes them to the trace."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from qcore.replica.messages import RequestKind
from qcore.sim.linearizability import OperationKind
from qcore.sim.workload.operation_history import OperationHistory
from qcore.sim.workload.operations import ClientOperation, Outcome, Value, trace_operation
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.programs.frames import Service
from qcore.trace import TraceWriter

T = TypeVar("T")
#: JSON; its shape depends on the message.
Json = Any

#: A value that is neither a text, an integer nor null begins with this in the history.
_JSON_MARK: Final = "json:"


class ProgramOperation:
    """One call of a method of a client, from its beginning to its outcome.

    Args:
        op: its record in the history.
        message: the name of the message that it sends.
        finished: called when it has an outcome.
    """

    def __init__(
        self, op: ClientOperation, message: str, finished: Callable[[ClientOperation], None]
    ) -> None:
        self._op = op
        self._message = message
        self._finished = finished
        self._result: Json = None

    @property
    def writes(self) -> bool:
        """Whether it goes through the log."""
        return self._op.writes

    def served(self, message: str, service: Service) -> None:
        """A node has answered one of its messages. Those about sessions are not part of the operation."""
        if message != self._message:
            return
        op = self._op
        op.served_by, op.served_us = service.node, service.at_us
        op.attempt += 1
        if service.index:
            op.index, op.term = service.index, service.term
            if op.writes and service.kind is not None:
                op.request, op.payload = service.kind, service.payload

    def name_of(self, message: str) -> tuple[int, int] | None:
        """See `ServedOperation`."""
        return (self._op.client, self._op.op_id) if message == self._message else None

    def remember(self, decode: Callable[[Json], T]) -> Callable[[Json], T]:
        """A decoder that also keeps the result as it came."""

        def take(result: Json) -> T:
            self._result = result
            return decode(result)

        return take

    def succeeded(self, returned: object) -> None:
        """The call has returned. The history holds the result of the state machine, not what the method made of it."""
        op = self._op
        result = returned if self._result is None else self._result
        text = _performed_text(result) if self._message == "Perform" else None
        op.answer = text if text is not None else _compact(result)
        if op.is_raw:
            op.output = op.answer
            self.finish("ok", "")
        elif text is None:
            self.finish("refused", "rejected")
        else:
            self._take_register_result(json.loads(text))

    def _take_register_result(self, result: Mapping[str, Json]) -> None:
        op = self._op
        if op.kind == "cas" and (result["ok"] or "value" in result):
            op.output = bool(result["ok"])
        elif not result["ok"]:
            self.finish("refused", str(result["error"]))
            return
        elif op.kind in ("read", "add"):
            op.output = _value(result["value"])
        self.finish("ok", "" if op.output is not False else "did not match")

    def finish(self, outcome: Outcome, note: str) -> None:
        """Record the outcome."""
        if self._op.outcome is not None:
            return  # the process was killed meanwhile
        self._op.outcome, self._op.note = outcome, note
        self._finished(self._op)


class OperationRecords:
    """The operations of one client program.

    Args:
        client: its number.
        has_registers: whether the state machine is the register machine, whose commands the checkers understand.
        engine: the simulated clock.
        trace: gets a record of each beginning and outcome.
        history: receives the operations, in the order in which they begin.
        ids: numbers the operations. All lives of the client's process share it.
    """

    def __init__(
        self,
        client: int,
        has_registers: bool,
        engine: Engine,
        trace: TraceWriter,
        history: OperationHistory,
        ids: Iterator[int],
    ) -> None:
        self._client = client
        self._has_registers = has_registers
        self._engine = engine
        self._trace = trace
        self._history = history
        self._ids = ids
        #: The operations without an outcome, in the order in which they began.
        self._open: dict[int, ClientOperation] = {}
        self._is_abandoned = False

    def begin(
        self, message: str, fields: Mapping[str, Json], request: RequestKind, max_staleness_ms: int
    ) -> ProgramOperation:
        """Record that an operation begins.

        Args:
            message: the name of the message that it sends.
            fields: the fields of that message.
            request: how the replica serves it.
            max_staleness_ms: the bound of a stale read.
        """
        text = _request_text(message, fields)
        kind: OperationKind = "write" if request == "write" else "read"
        key = ""
        value: Value = text
        expected: Value = None
        now, is_raw = self._engine.now, True
        register = _register_operation(text) if self._has_registers else None
        if register is not None:
            kind, key, value, expected = register
            is_raw = False
        op = ClientOperation(
            self._client, next(self._ids), kind, key, value, expected, now, deadline_us=0
        )
        op.request, op.payload, op.is_raw = request, text, is_raw
        op.max_staleness_ms = max_staleness_ms
        if self._is_abandoned:
            return ProgramOperation(op, message, self._finished)
        self._open[op.op_id] = op
        self._history.append(op)
        self._record(op, "invoke", f"expects {expected}" if kind == "cas" else "")
        if request == "stale_read":
            self._trace.request(now, 0, "stale", self._client, op.op_id, 0)
        return ProgramOperation(op, message, self._finished)

    def abandon(self) -> None:
        """The process of the client is killed: nothing knows the outcome of what is open, and nothing follows."""
        for op in list(self._open.values()):
            op.outcome, op.note = "unknown", "killed"
            self._finished(op)
        self._is_abandoned = True

    def _finished(self, op: ClientOperation) -> None:
        if self._is_abandoned:
            return
        self._open.pop(op.op_id, None)
        op.return_us = self._engine.now
        assert op.outcome is not None, "it has just got one"
        self._record(op, op.outcome, op.note)

    def _record(self, op: ClientOperation, phase: str, note: str) -> None:
        trace_operation(self._trace, op.return_us or op.invoke_us, op.served_by, op, phase, note)


def _request_text(message: str, fields: Mapping[str, Json]) -> str:
    """The command or query as the program gave it; else the message as JSON."""
    if message == "Perform":
        request = fields["request"]
        for name in ("Write", "Read"):
            if isinstance(request, Mapping) and isinstance(request.get(name), str):
                return str(request[name])
    return _compact({message: fields})


def _register_operation(text: str) -> tuple[OperationKind, str, Value, Value] | None:
    """Kind, key, value and expected value of a command of the register machine; None if it is none."""
    try:
        request = json.loads(text)
    except ValueError:
        return None
    match request:
        case {"op": "set", "key": str(key), "value": value}:
            return "write", key, _value(value), None
        case {"op": "cas", "key": str(key), "old": old, "new": new}:
            return "cas", key, _value(new), _value(old)
        case {"op": "add", "key": str(key), "amount": int(amount)}:
            return "add", key, amount, None
        case {"op": "delete", "key": str(key)}:
            return "write", key, None, None
        case {"op": "get", "key": str(key)}:
            return "read", key, None, None
    return None


def _value(value: Json) -> Value:
    """A register's value in the history. Equal values, by the rules of JSON, are equal there, and others differ."""
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    return _JSON_MARK + json.dumps(value, sort_keys=True)


def _performed_text(response: Json) -> str | None:
    """The text in the response to a `Perform` of a machine whose results are texts; None if it is an error."""
    if isinstance(response, str):
        return response
    if isinstance(response, dict) and len(response) == 1:
        ((_, body),) = response.items()
        if isinstance(body, dict) and isinstance(body.get("response"), str):
            return str(body["response"])
    return None


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), default=str)
