"""`OtelTracer`: each request of a client is a span of OpenTelemetry. It needs the extra `otel`.

    async with Client(["127.0.0.1:8080"], tracer=OtelTracer()) as client:
        with tracer.start_as_current_span("book a seat"):
            await client.write(seat, "Taken", True)

A node that was started with `--otel` adds its own spans to the trace.
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from qcore.errors import QcoreError
from qcore.release import __version__


class OtelTracer:
    """Makes a span for each attempt of a request, below the current span of the caller.

    Args:
        tracer: makes the spans; by default that of the global tracer provider.
    """

    def __init__(self, tracer: Tracer | None = None) -> None:
        self._tracer = tracer or trace.get_tracer("qcore.client", __version__)

    def begin(self, name: str, remote: str) -> OtelRequestSpan:
        """See `qcore.transport.trace_context.RequestTracer`."""
        attributes = {"rpc.system": "qcore", "rpc.method": name, "server.address": remote}
        return OtelRequestSpan(
            self._tracer.start_span(f"qcore {name}", kind=SpanKind.CLIENT, attributes=attributes)
        )


class OtelRequestSpan:
    """See `qcore.transport.trace_context.RequestSpan`."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.traceparent = traceparent_of(span)

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
    span.set_attribute(
        "error.type", error.code if isinstance(error, QcoreError) else type(error).__name__
    )
    span.set_status(Status(StatusCode.ERROR, str(error)))
