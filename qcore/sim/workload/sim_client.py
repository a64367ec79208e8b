"""The clients of a simulated cluster: they send requests, follow redirects, retry after rejections, and time out.

The response decides whether a client may retry. A rejected request certainly had no effect, so the client tries another
node until the deadline. A write without a response has the outcome *unknown*. It is never repeated blindly, unless a
session makes that harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from qcore.compiled_build import register_copies
from qcore.errors import (
    NotLeader,
    OutcomeUnknown,
    QcoreError,
    ResultInvalid,
    ResultTooLarge,
    SequenceRefused,
)
from qcore.replica.messages import RequestKind
from qcore.sim.invariants import Report
from qcore.sim.linearizability import OperationKind
from qcore.sim.scenario.values import ReadKind
from qcore.sim.workload.operation_history import OperationHistory
from qcore.sim.workload.operations import (
    ClientOperation,
    OperationCodec,
    Outcome,
    Value,
    trace_operation,
)
from qcore.sim.world.clock.engine import Engine, SimEvent
from qcore.sim.world.network import Link, Network
from qcore.trace import TraceWriter

_RETRY_PAUSE_US = 10_000


@dataclass(init=False)
class RequestMessage:
    """One attempt at an operation, on its way to a node."""

    op: ClientOperation
    attempt: int
    timeout_ms: int
    max_staleness_ms: int = 0

    def __init__(
        self,
        op: ClientOperation,
        attempt: int,
        timeout_ms: int,
        max_staleness_ms: int = 0,
    ) -> None:
        self.op = op
        self.attempt = attempt
        self.timeout_ms = timeout_ms
        self.max_staleness_ms = max_staleness_ms


@dataclass(init=False)
class ResponseMessage:
    """The response to one attempt: a result or an error.

    With neither, the connection broke. If it broke before the node accepted the request, `connection_refused` is set.
    Otherwise the outcome is unknown.

    Attributes:
        term: for the checkers: the term of the entry at `index`; 0 while unknown.
        served_by, served_us: for the checkers: the node that responded, and when, in simulated time.
    """

    op: ClientOperation
    attempt: int
    result: str | None = None
    index: int = 0
    error: QcoreError | None = None
    connection_refused: bool = False
    term: int = 0
    served_by: int = 0
    served_us: int = 0

    def __init__(
        self,
        op: ClientOperation,
        attempt: int,
        result: str | None = None,
        index: int = 0,
        error: QcoreError | None = None,
        connection_refused: bool = False,
        term: int = 0,
        served_by: int = 0,
        served_us: int = 0,
    ) -> None:
        self.op = op
        self.attempt = attempt
        self.result = result
        self.index = index
        self.error = error
        self.connection_refused = connection_refused
        self.term = term
        self.served_by = served_by
        self.served_us = served_us


@dataclass(frozen=True)
class ReadMix:
    """How reads are served: by one of `kinds`, drawn for each read. The bound applies to stale reads."""

    kinds: tuple[ReadKind, ...] = ("read",)
    max_staleness_ms: int = 1000


class SimClient:
    """One client: a vertex of the network, with links to and from the nodes.

    Args:
        number: from 1; its vertex is `-number`.
        nodes: the nodes that it may send to. Its number decides which one it begins with.
        codec: encodes its operations on registers.
        history: receives its operations, in the order of invocation.
        rng: draws the kind of each read.

    Attributes:
        pinned: the node to which it sends everything; None if it chooses.
        reads: how its reads are served, unless an operation overrides it.
        transmit: sends an attempt to a node; by default as one message over the link.
        last_values: by key, the last value that it wrote or read. A cas expects this value.
        report: called with an answer that the state machine cannot have given.
    """

    def __init__(
        self,
        number: int,
        engine: Engine,
        network: Network,
        nodes: Sequence[int],
        codec: OperationCodec,
        trace: TraceWriter,
        history: OperationHistory,
        rng: Random,
    ) -> None:
        self.number = number
        self.vertex = -number
        self._engine = engine
        self._network = network
        self._nodes = list(nodes)
        self._links: dict[int, Link] = {}
        self._codec = codec
        self._trace = trace
        self._history = history
        self._rng = rng
        self._ops = 0
        self._target = self._nodes[(number - 1) % len(self._nodes)]
        self.pinned: int | None = None
        self.reads = ReadMix()
        self.last_values: dict[str, Value] = {}
        self.transmit: Callable[[int, RequestMessage], None] = self._send_on_link
        self.report: Report = _ignore

    def attach(self) -> None:
        """Record the client's links, once all of them exist."""
        self._links = self._network.links_from(self.vertex)

    def can_encode(self, key: str) -> bool:
        """Whether operations on this register are possible yet. Some machines need the setup first."""
        return self._codec.can_encode(key)

    def begin(
        self,
        kind: OperationKind,
        key: str,
        value: Value = None,
        *,
        expected: Value = None,
        timeout_ms: int,
        node: int | None = None,
        then: Callable[[ClientOperation], None] | None = None,
        reads: ReadMix | None = None,
    ) -> ClientOperation:
        """Begin an operation on a register.

        Args:
            kind: write, read or cas.
            key, value, expected: see `ClientOperation`.
            timeout_ms: how long to wait for an outcome.
            node: send it to this node only, and only once.
            then: called with the operation when it has an outcome.
            reads: for a read, how it is served.
        """
        now = self._engine.now
        self._ops += 1
        deadline = now + timeout_ms * 1000
        op = ClientOperation(self.number, self._ops, kind, key, value, expected, now, deadline)
        op.only_node, op.then = node, then
        op.request, op.payload = self._codec.encode(op)
        if op.request == "read":
            self._choose_kind(op, reads or self.reads)
        self._history.append(op)
        self._trace_op(op, "invoke", _note_of(op))
        self._send(op)
        self._engine.schedule(_Timeout(self, op), timeout_ms * 1000)
        return op

    def begin_raw(
        self,
        kind: RequestKind,
        payload: str,
        *,
        timeout_ms: int,
        then: Callable[[ClientOperation], None] | None = None,
        hidden: bool = False,
        key: str = "",
        attempt_ms: int = 0,
    ) -> None:
        """Begin a request with this payload, without the codec.

        Args:
            kind, payload: the request.
            timeout_ms, then: as for `begin`.
            hidden: leave it out of the history and the trace, for a request that only prepares the run.
            key: the register that it concerns, for the history.
            attempt_ms: if set, send it to another node after this time without a response. For sessions only.
        """
        now = self._engine.now
        if not hidden:
            self._ops += 1
        op_id = 0 if hidden else self._ops
        deadline = now + timeout_ms * 1000
        changes = kind in ("write", "session")
        op = ClientOperation(
            self.number, op_id, "write" if changes else "read", key, payload, None, now, deadline
        )
        op.is_raw, op.request, op.payload, op.then = True, kind, payload, then
        op.attempt_us = attempt_ms * 1000
        if kind == "read":
            self._choose_kind(op, self.reads)
        elif kind == "stale_read":
            op.max_staleness_ms = self.reads.max_staleness_ms
        if not hidden:
            self._history.append(op)
            self._trace_op(op, "invoke", _note_of(op))
        self._send(op)
        self._engine.schedule(_Timeout(self, op), timeout_ms * 1000)

    def receive(self, _source: int, payload: object, _message_id: str) -> None:
        """Receive a response."""
        assert isinstance(payload, ResponseMessage)
        op = payload.op
        if op.outcome is not None or not op.in_flight or payload.attempt != op.attempt:
            return
        op.in_flight = False
        op.served_by, op.served_us = payload.served_by, payload.served_us
        if payload.result is not None:
            op.term = payload.term
            self._take_result(op, payload.result, payload.index)
        elif payload.connection_refused:
            self._try_elsewhere(op, None, "connection refused")
        elif payload.error is None:
            self._outcome_unknown(op, "connection lost")
        elif isinstance(payload.error, OutcomeUnknown):
            self._outcome_unknown(op, payload.error.code)
        elif payload.error.retryable:
            leader = payload.error.leader_id if isinstance(payload.error, NotLeader) else None
            self._try_elsewhere(op, leader, payload.error.code)
        elif isinstance(payload.error, ResultInvalid | ResultTooLarge) and op.writes:
            # The command took effect. Only its result cannot be returned.
            self._finish(op, "ok", payload.error.code)
        else:
            if isinstance(payload.error, SequenceRefused):
                # No client of the simulator acknowledges a command that it still waits for.
                self._report_answer(op, str(payload.error))
            self._finish(op, "refused", payload.error.code)

    # -- the course of an operation ---------------------------------------------------------------

    def _choose_kind(self, op: ClientOperation, reads: ReadMix) -> None:
        kinds = reads.kinds
        op.request = kinds[0] if len(kinds) == 1 else self._rng.choice(kinds)
        if op.request == "stale_read":
            op.max_staleness_ms = reads.max_staleness_ms

    def _send(self, op: ClientOperation) -> None:
        left_ms = max(1, (op.deadline_us - self._engine.now) // 1000)
        op.attempt += 1
        op.in_flight = True
        node = op.only_node or self.pinned or self._target
        self.transmit(node, RequestMessage(op, op.attempt, left_ms, op.max_staleness_ms))
        if op.attempt_us:
            self._engine.after(op.attempt_us, partial(self._on_attempt_timeout, op, op.attempt))

    def _send_on_link(self, node: int, request: RequestMessage) -> None:
        self._network.send(self._links[node], request, "")

    def _on_attempt_timeout(self, op: ClientOperation, attempt: int) -> None:
        if op.outcome is None and op.in_flight and op.attempt == attempt:
            op.in_flight = False
            op.may_have_applied = True
            self._try_elsewhere(op, None, "no answer")

    def _take_result(self, op: ClientOperation, result: str, index: int) -> None:
        op.answer = result
        if op.is_raw:
            op.output, op.index = result, index
            self._finish(op, "ok", "")
            return
        op.index = index
        try:
            error = self._codec.decode_result(op, result)
        except (ValueError, KeyError, TypeError, AttributeError):
            self._report_answer(op, repr(result))
            self._finish(op, "unknown", "not an answer")
            return
        if error is not None:
            self._finish(op, "refused", error)
            return
        if op.kind == "read":
            self.last_values[op.key] = op.output
        elif op.kind == "write" or op.output is True:
            self.last_values[op.key] = op.value
        self._finish(op, "ok", "" if op.output is not False else "did not match")

    def _report_answer(self, op: ClientOperation, answer: str) -> None:
        where = f"through node {op.served_by}" + (f", index {op.index}" if op.index else "")
        text = f"client {self.number}, {op.payload}: this cannot be the answer: {answer} ({where})"
        self.report("answer", op.served_by, text)

    def _outcome_unknown(self, op: ClientOperation, why: str) -> None:
        """Handle a request that may have taken effect. A write must not be repeated; a read may be."""
        if not op.writes:
            self._try_elsewhere(op, None, why)
        elif op.attempt_us:
            op.may_have_applied = True
            self._try_elsewhere(op, None, why)
        else:
            self.move_on()
            self._finish(op, "unknown", why)

    def _try_elsewhere(self, op: ClientOperation, leader: int | None, why: str) -> None:
        if op.only_node is not None:
            self._finish(op, "refused", why)
            return
        now = self._engine.now
        if leader is not None and leader != self._target:
            self._target = leader
            pause = 0
        else:
            self.move_on()
            pause = _RETRY_PAUSE_US
        if now + pause >= op.deadline_us:
            self._finish(op, "refused", why)
        else:
            self._engine.after(pause, partial(self._retry, op))

    def _retry(self, op: ClientOperation) -> None:
        if op.outcome is None:
            self._send(op)

    def move_on(self) -> None:
        """Send to another node from now on."""
        position = self._nodes.index(self._target)
        self._target = self._nodes[(position + 1) % len(self._nodes)]

    def time_out(self, op: ClientOperation) -> None:
        """The deadline of an operation has passed."""
        if op.outcome is None:
            if op.in_flight:
                self.move_on()
            self._finish(op, "unknown" if op.in_flight else "refused", "timeout")

    def _finish(self, op: ClientOperation, outcome: Outcome, note: str) -> None:
        if outcome == "refused" and op.may_have_applied:
            outcome = "unknown"  # this attempt had no effect, but an earlier one may have had
        op.outcome, op.note = outcome, note
        op.return_us = self._engine.now
        if op.op_id:
            self._trace_op(op, outcome, note)
        if op.then is not None:
            op.then(op)

    def _trace_op(self, op: ClientOperation, phase: str, note: str) -> None:
        node = op.only_node or self.pinned or self._target
        trace_operation(self._trace, self._engine.now, node, op, phase, note)


class _Timeout(SimEvent):
    """The deadline of an operation."""

    def __init__(self, client: SimClient, op: ClientOperation) -> None:
        self.due_us = 0
        self.order = 0
        self._client = client
        self._op = op

    def fire(self) -> None:
        self._client.time_out(self._op)


def _ignore(_check: str, _node: int, _note: str) -> None:
    """Report nothing."""


def _note_of(op: ClientOperation) -> str:
    """The trace's note on an operation that begins, in addition to its key and value."""
    if op.kind == "cas":
        return f"expects {op.expected}"
    if op.request == "stale_read":
        return f"stale, up to {op.max_staleness_ms} ms"
    return ""


register_copies(globals())
