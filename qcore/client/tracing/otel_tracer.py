"""`OtelTracer`: each request of a client is a span of OpenTelemetry. It needs the extra `otel`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qcore.errors import ConfigError
from qcore.release import __version__
from qcore.transport.trace_context import RequestSpan

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


class OtelTracer:
    """Makes a span for each attempt of a request, below the current span of the caller.

        async with Client(["127.0.0.1:8080"], tracer=OtelTracer()) as client:
            with tracer.start_as_current_span("book a seat"):
                await client.write(seat, "Taken", True)

    A node that was started with `--otel` adds its spans to the trace.

    Args:
        tracer: makes the spans; by default that of the global tracer provider.

    Raises:
        ConfigError: the extra `otel` is not installed.
    """

    def __init__(self, tracer: Tracer | None = None) -> None:
        try:
            from opentelemetry.trace import get_tracer

            from qcore.client.tracing.otel_spans import OtelRequestSpan
        except ImportError as error:
            raise ConfigError(
                f"OtelTracer: {error.name} is not installed: pip install 'qcore-raft[otel]'"
            ) from None
        self._tracer = tracer or get_tracer("qcore.client", __version__)
        self._make: Callable[[Tracer, str, str], RequestSpan] = OtelRequestSpan

    def begin(self, name: str, remote: str) -> RequestSpan:
        """A request of this name to this node begins."""
        return self._make(self._tracer, name, remote)
