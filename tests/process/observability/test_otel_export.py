"""Real nodes export the spans of a traced request to a collector."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from qcore.client import Client, OtelTracer
from qcore.processes import NodeProcess, ProcessCluster, free_ports, wait_for

pytestmark = [pytest.mark.process, pytest.mark.long]


@contextmanager
def collector(spans: list[tuple[str, str, str]]) -> Iterator[str]:
    """A collector on the loopback interface. It adds trace id, node and name of each span."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                about = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        found = span.trace_id.hex(), about["service.instance.id"], span.name
                        spans.append(found)
            self.send_response(200)
            self.end_headers()

        def log_message(self, form: str, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_collector_gets_one_trace_of_three_nodes(tmp_path: Path) -> None:
    spans: list[tuple[str, str, str]] = []
    provider = TracerProvider(shutdown_on_exit=False)
    with collector(spans) as address:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with ProcessCluster(tmp_path, 3, ["--otel", "--machine", "register"], variables) as cluster:
            cluster.start()

            async def write() -> tuple[NodeProcess, str]:
                async with Client(cluster.endpoints) as client:
                    await client.init(cluster.members)
                leader = await asyncio.to_thread(cluster.wait_leader)
                follower = next(each for each in cluster.nodes.values() if each is not leader)
                tracer = provider.get_tracer("test")
                async with Client(
                    [follower.address], exactly_once=False, tracer=OtelTracer(tracer)
                ) as client:
                    with tracer.start_as_current_span("work") as span:
                        await client.execute('{"op":"put","key":"x","value":1}')
                        return follower, f"{span.get_span_context().trace_id:032x}"

            follower, trace_id = asyncio.run(write())
            leader = cluster.wait_leader()
            expected = {
                (trace_id, str(leader.node_id), f"qcore {name}")
                for name in ("forwarded write", "append", "commit", "apply")
            }
            expected |= {
                (trace_id, str(follower.node_id), f"qcore {name}") for name in ("write", "forward")
            }
            wait_for(lambda: expected <= set(spans), 30, "the spans")
            assert {each[0] for each in spans} == {trace_id}
            for node in cluster.nodes.values():
                assert node.stop() == 0


def test_a_node_serves_without_its_collector(tmp_path: Path) -> None:
    nowhere, port = free_ports(2)
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{nowhere}"}
    variables |= {"OTEL_EXPORTER_OTLP_TIMEOUT": "1", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    node = NodeProcess(1, port, tmp_path, ["--otel", "--machine", "register"], variables)
    provider = TracerProvider(shutdown_on_exit=False)
    node.start()
    try:

        async def write() -> None:
            tracer = OtelTracer(provider.get_tracer("test"))
            async with Client([node.address], exactly_once=False, tracer=tracer) as client:
                await client.init()
                await client.execute('{"op":"put","key":"x","value":1}')

        asyncio.run(write())
        assert node.stop() == 0
        assert "Traceback" not in node.log_text()
    finally:
        node.kill()
