"""Exports the spans of a node's process with OpenTelemetry, to the collector that its environment names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from qcore.errors import ConfigError
from qcore.node.observability.node_recorder import NodeRecorder
from qcore.release import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

_SCOPE: Final = "qcore.node"


def begin_export(
    node_id: int, wall_us: Callable[[], int]
) -> tuple[NodeRecorder, Callable[[], None]]:
    """What records the spans of a node, and what ends the export: it sends the last spans, and waits for that.

    The variables OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME and so on are those of OpenTelemetry.

    Raises:
        ConfigError: the extra `otel` is not installed.
    """
    with _installed():
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from qcore.node.observability.otel_recorder import OtelRecorder
    provider = TracerProvider(resource=about_node(node_id), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    recorder = OtelRecorder(provider.get_tracer(_SCOPE, __version__), node_id, wall_us)
    return recorder, provider.shutdown


def about_node(node_id: int) -> Resource:
    """What the spans of a node say about it. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override and extend it."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    about = {
        "service.name": "qcore",
        "service.version": __version__,
        "service.instance.id": str(node_id),
    }
    return Resource.create({**about, **OTELResourceDetector().detect().attributes})


def recorder_of_program(node_id: int, wall_us: Callable[[], int]) -> NodeRecorder:
    """What records the spans of a node within a program, with the program's tracer provider.

    Raises:
        ConfigError: the extra `otel` is not installed.
    """
    with _installed():
        from opentelemetry.trace import get_tracer

        from qcore.node.observability.otel_recorder import OtelRecorder
    return OtelRecorder(get_tracer(_SCOPE, __version__), node_id, wall_us)


@contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"--otel: {error.name} is not installed: pip install 'qcore-raft[otel]'"
        ) from None
