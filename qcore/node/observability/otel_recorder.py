"""`OtelRecorder`: the spans of a node for requests that carry a trace context, with OpenTelemetry.

| span | node | from | to |
|---|---|---|---|
| `qcore write`, `qcore read` and so on | that of the client | arrival of the request | outcome |
| `qcore forward` | a follower | message to the leader | response of the leader |
| `qcore forwarded write` | the leader | arrival of the forwarded request | response |
| `qcore append` | each that handles the request | entry in the log | durable on its disk |
| `qcore commit` | the same | entry in the log | committed |
| `qcore apply` | the same, if there is no outcome before | committed | applied to the state |

An entry is found by its content. Of requests with equal content in progress at the same time, one may get the spans of
another. A request without a sampled context costs one search in its id. A node begins no trace itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, Tracer

from qcore.client.tracing.otel_spans import mark_failed, traceparent_of
from qcore.core.effects import AppendLog, SaveCommit
from qcore.core.status import CoreStatus
from qcore.errors import QcoreError, from_wire
from qcore.replica.events import Applied, ClientRequest, ReplicaEffect, Reply
from qcore.replica.messages import Forward, ForwardResponse, PeerMessage
from qcore.transport.trace_context import traceparent_in, with_traceparent

#: The most requests that are traced at the same time. Others are not traced.
MAX_TRACED: Final = 1024


class _Traced:
    """A request with a trace context, at this node.

    Attributes:
        span: from its arrival to its outcome.
        context: with this span as the parent of others.
        payload: its content, by which its entry is found.
        index: the index of its entry; 0 before there is one.
        write_id: the write with which its entry becomes durable.
        forward_id: the number of its forward to the leader; 0 for none.
        open: its other spans that have not ended, by name.
    """

    __slots__ = ("context", "forward_id", "index", "open", "payload", "span", "write_id")

    def __init__(self, span: Span, payload: str) -> None:
        self.span = span
        self.context = trace.set_span_in_context(span, Context())
        self.payload = payload
        self.index = self.write_id = self.forward_id = 0
        self.open: dict[str, Span] = {}


class OtelRecorder:
    """See `NodeRecorder`.

    Args:
        tracer: makes the spans.
        node_id: this node.
        wall_us: microseconds since the Unix epoch.
    """

    def __init__(self, tracer: Tracer, node_id: int, wall_us: Callable[[], int]) -> None:
        self._tracer = tracer
        self._node_id = node_id
        self._wall_us = wall_us
        self._requests: dict[int, _Traced] = {}  # by the number of the client's request
        self._forwards: dict[int, _Traced] = {}  # by the number of the forward to the leader
        self._forwarded: dict[tuple[int, int], _Traced] = {}  # by peer and number, at the leader
        #: The requests whose entry is not in the log, by content, in the order of their arrival.
        self._without_entry: dict[str, deque[_Traced]] = {}
        self._with_entry: dict[int, _Traced] = {}  # by index

    @property
    def in_progress(self) -> int:
        """How many requests it keeps something of."""
        by_content = sum(map(len, self._without_entry.values())) + len(self._with_entry)
        return len(self._requests) + len(self._forwards) + len(self._forwarded) + by_content

    def request_began(self, event: ClientRequest, message_id: str) -> None:
        """Begin the span of a client's request."""
        traced = self._begin("", event.kind, message_id, event.payload)
        if traced is not None:
            self._requests[event.request_id] = traced

    def request_ended(self, reply: Reply) -> None:
        """End it."""
        traced = self._requests.pop(reply.request_id, None)
        if traced is not None:
            self._end(traced, reply.error)

    def outgoing_id(self, message_id: str, message: PeerMessage) -> str:
        """Begin the span of a forwarded request, and let its message carry the context."""
        if type(message) is not Forward or not self._without_entry:
            return message_id
        waiting = self._without_entry.get(message.payload, ())
        traced = next((each for each in waiting if "forward" not in each.open), None)
        if traced is None:
            return message_id
        self._open(traced, "forward", SpanKind.CLIENT)
        traced.forward_id = message.forward_id
        self._forwards[message.forward_id] = traced
        return with_traceparent(message_id, traceparent_of(traced.open["forward"]))

    def sent(self, to: int, message_id: str, message: PeerMessage) -> None:
        """End the span of a request that a peer has forwarded."""
        if type(message) is ForwardResponse:
            self._respond(to, message)

    def dropped(self, to: int, message: PeerMessage) -> None:
        """The same for a response that could not be sent."""
        if type(message) is ForwardResponse:
            self._respond(to, message)
        elif type(message) is Forward and (traced := self._forwards.pop(message.forward_id, None)):
            self._close(traced, "forward")

    def received(self, from_id: int, message_id: str, message: PeerMessage) -> None:
        """Begin the span of a request that a peer has forwarded, or end that of one forwarded by this node."""
        if type(message) is Forward:
            traced = self._begin("forwarded ", message.kind, message_id, message.payload)
            if traced is not None:
                self._forwarded[from_id, message.forward_id] = traced
        elif type(message) is ForwardResponse and self._forwards:
            traced = self._forwards.pop(message.forward_id, None)
            if traced is not None:
                self._close(traced, "forward")

    def step(self, events: int, effects: Sequence[ReplicaEffect]) -> None:
        """Find the entries of the traced requests, and what happens to them."""
        if not (self._without_entry or self._with_entry):
            return
        for effect in effects:
            if type(effect) is AppendLog:
                self._appended(effect)
            elif type(effect) is SaveCommit:
                self._committed(effect.commit)
            elif type(effect) is Applied:
                traced = self._with_entry.get(effect.entry.index)
                if traced is not None:
                    self._close(traced, "apply")

    def durable(self, write_id: int) -> None:
        """End the spans of the writes up to this one."""
        for traced in self._with_entry.values():
            if traced.write_id <= write_id:
                self._close(traced, "append")

    def answered(self, remote: str, message_id: str, reply: Reply) -> None:
        """Nothing: `request_ended` has done it."""

    def started(self, status: CoreStatus) -> None:
        """Nothing: a node begins no trace."""

    def stopped(self, why: str) -> None:
        """End all spans."""
        for traced in [*self._requests.values(), *self._forwarded.values()]:
            self._end(traced, None)
        self._requests.clear()
        self._forwarded.clear()

    def flush(self) -> None:
        """Nothing: the exporter has its own thread."""

    # -- spans -----------------------------------------------------------------------------------

    def _begin(self, how: str, kind: str, message_id: str, payload: str) -> _Traced | None:
        traceparent = traceparent_in(message_id)
        if not traceparent or len(self._requests) + len(self._forwarded) >= MAX_TRACED:
            return None
        parent = _parent(traceparent)
        if not parent.trace_flags.sampled:
            return None
        traced = _Traced(
            self._tracer.start_span(
                f"qcore {how}{'write' if kind == 'session' else kind}",
                trace.set_span_in_context(NonRecordingSpan(parent), Context()),
                SpanKind.SERVER,
                {"qcore.node": self._node_id, "qcore.kind": kind},
                start_time=self._now_ns(),
            ),
            payload,
        )
        self._without_entry.setdefault(payload, deque()).append(traced)
        return traced

    def _open(self, traced: _Traced, name: str, kind: SpanKind = SpanKind.INTERNAL) -> None:
        attributes = {"qcore.node": self._node_id}
        if traced.index:
            attributes["qcore.index"] = traced.index
        traced.open[name] = self._tracer.start_span(
            f"qcore {name}", traced.context, kind, attributes, start_time=self._now_ns()
        )

    def _close(self, traced: _Traced, name: str) -> None:
        span = traced.open.pop(name, None)
        if span is not None:
            span.end(self._now_ns())

    def _end(self, traced: _Traced, error: QcoreError | None) -> None:
        """The request has its outcome here."""
        for name in [*traced.open]:
            self._close(traced, name)
        self._forwards.pop(traced.forward_id, None)  # its response may be lost
        if self._with_entry.get(traced.index) is traced:
            del self._with_entry[traced.index]
        waiting = self._without_entry.get(traced.payload)
        if waiting is not None and traced in waiting:
            waiting.remove(traced)
            if not waiting:
                del self._without_entry[traced.payload]
        if error is not None:
            mark_failed(traced.span, error)
        traced.span.end(self._now_ns())

    def _respond(self, to: int, response: ForwardResponse) -> None:
        traced = self._forwarded.pop((to, response.forward_id), None)
        if traced is not None:
            text = response.error_text
            error = None if text is None else from_wire(text, {"code": response.error_code or ""})
            self._end(traced, error)

    def _appended(self, append: AppendLog) -> None:
        for entry in append.entries:
            waiting = self._without_entry.get(entry.data)
            if waiting is None:
                continue
            traced = waiting.popleft()
            if not waiting:
                del self._without_entry[entry.data]
            traced.index, traced.write_id = entry.index, append.write_id
            self._with_entry[entry.index] = traced
            self._open(traced, "append")
            self._open(traced, "commit")

    def _committed(self, commit: int) -> None:
        for index, traced in self._with_entry.items():
            if index <= commit and "commit" in traced.open:
                self._close(traced, "commit")
                self._open(traced, "apply")

    def _now_ns(self) -> int:
        return self._wall_us() * 1000


def _parent(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))
