"""What the spans of clients and of nodes share. It needs OpenTelemetry: only code that makes spans imports it."""

from __future__ import annotations

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from qcore.errors import QcoreError


class OtelRequestSpan:
    """The span of a client's request; see `qcore.transport.trace_context.RequestSpan`."""

    def __init__(self, tracer: Tracer, name: str, remote: str) -> None:
        attributes = {"rpc.system": "qcore", "rpc.method": name, "server.address": remote}
        self._span = tracer.start_span(f"qcore {name}", None, SpanKind.CLIENT, attributes)
        self.traceparent = traceparent_of(self._span)

    def end(self, error: BaseException | None) -> None:
        """See `RequestSpan`."""
        if error is not None:
            mark_failed(self._span, error)
        self._span.end()


def traceparent_of(span: Span) -> str:
    """The context of a span; empty if the span is not sampled."""
    context = span.get_span_context()
    if not (context.is_valid and context.trace_flags.sampled):
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def mark_failed(span: Span, error: BaseException) -> None:
    """Give a span the error with which its work ended."""
    kind = error.code if isinstance(error, QcoreError) else type(error).__name__
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, str(error)))
