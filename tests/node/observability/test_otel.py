"""One trace goes through client, follower, leader, disk, commit and apply."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from qcore.client import Client, OtelTracer, SyncClient
from qcore.core.effects import AppendLog, SaveCommit
from qcore.core.entry import Entry
from qcore.errors import ConfigError, Overloaded
from qcore.node.node import Node
from qcore.node.observability.otel_recorder import OtelRecorder
from qcore.node.process.otel_export import about_node, begin_export, recorder_of_program
from qcore.replica.events import ClientRequest, Reply
from qcore.replica.messages import Forward, ForwardResponse
from qcore.transport.trace_context import traceparent_in, with_traceparent
from tests.node.embedded.embedded_nodes import PATIENT_MS, add, config_of, leader_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans that a program exports with its tracer provider."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def name_of(span: ReadableSpan) -> str:
    """The name of a span, with its node."""
    node = (span.attributes or {}).get("qcore.node")
    return span.name.removeprefix("qcore ") + ("" if node is None else f" {node}")


def tree(spans: tuple[ReadableSpan, ...]) -> set[tuple[str, str]]:
    """Name of a span, and that of its parent."""
    names = {each.context.span_id: name_of(each) for each in spans if each.context}
    return {
        (name_of(each), names.get(each.parent.span_id, "?") if each.parent else "")
        for each in spans
    }


def test_the_variables_of_opentelemetry_name_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    about = about_node(7).attributes
    assert (about["service.name"], about["service.instance.id"]) == ("qcore", "7")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "blue")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=east-7,rack=b")
    about = about_node(7).attributes
    assert (about["service.name"], about["service.instance.id"]) == ("blue", "east-7")
    assert about["rack"] == "b"


def test_one_trace_goes_from_the_client_to_the_state(
    tmp_path: Path, exported: InMemorySpanExporter
) -> None:
    async def run() -> tuple[int, int]:
        async with AsyncExitStack() as stack:
            nodes = [
                await stack.enter_async_context(
                    Node(
                        config_of(number, tmp_path, PATIENT_MS, otel=True, trace=tmp_path / "trace")
                    )
                )
                for number in (1, 2)
            ]
            await nodes[0].client.init([(node.node_id, node.address) for node in nodes])
            leader = await leader_of(nodes)
            (follower,) = (node for node in nodes if node is not leader)
            await add(leader.client, "x")  # of a client that does not trace
            assert exported.get_finished_spans() == ()

            tracing = Client([follower.address], tracer=OtelTracer())
            client = await stack.enter_async_context(tracing)
            with trace.get_tracer("test").start_as_current_span("work"):
                await add(client, "x")

            def write() -> None:
                made = SyncClient([leader.address], exactly_once=False, tracer=OtelTracer())
                with made as plain, trace.get_tracer("test").start_as_current_span("plain work"):
                    plain.execute('{"op":"add","key":"x","amount":1}')

            await asyncio.to_thread(write)
            await asyncio.gather(*(node.stop() for node in nodes))
            return leader.node_id, follower.node_id

    leader, follower = asyncio.run(run())
    spans = exported.get_finished_spans()
    records = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
    assert {each["kind"] for each in records} >= {"run", "up", "op", "send", "recv", "down"}
    (work,) = (each for each in spans if each.name == "work")
    assert work.context is not None
    one_trace = tuple(
        each for each in spans if each.context and each.context.trace_id == work.context.trace_id
    )
    at_follower, at_leader = f"write {follower}", f"forwarded write {leader}"
    assert tree(one_trace) >= {
        ("work", ""),
        ("Perform", "work"),
        (at_follower, "Perform"),
        (f"forward {follower}", at_follower),
        (at_leader, f"forward {follower}"),
        *((f"{name} {leader}", at_leader) for name in ("append", "commit", "apply")),
    }
    assert {("Perform", "plain work"), (f"write {leader}", "Perform")} <= tree(spans)
    by_name = {name_of(each): each for each in one_trace}
    append, commit = by_name[f"append {leader}"], by_name[f"commit {leader}"]
    assert (append.attributes or {})["qcore.index"] == (commit.attributes or {})["qcore.index"]
    for each in spans:
        assert each.start_time is not None
        assert each.end_time is not None
        assert each.start_time <= each.end_time


def test_a_rejected_request_ends_its_spans_with_the_error(exported: InMemorySpanExporter) -> None:
    recorder = OtelRecorder(trace.get_tracer("node"), 1, lambda: 5)
    message_id = with_traceparent("7", PARENT)
    recorder.request_began(ClientRequest(1, "write", "x", 1000), message_id)
    forward = Forward(9, "write", "x", 1000)
    sent = recorder.outgoing_id("8", forward)
    assert sent.startswith("8 00-0af7651916cd43dd8448eb211c80319c-")
    recorder.received(2, sent, forward)  # as if this were the leader, too
    recorder.sent(2, "8", ForwardResponse(9, None, error_code="Overloaded", error_text="full"))
    recorder.request_ended(Reply(1, None, 0, Overloaded("full", 10)))
    assert not recorder.in_progress
    found = {each.name: each for each in exported.get_finished_spans()}
    assert set(found) == {"qcore write", "qcore forward", "qcore forwarded write"}
    for name in ("qcore write", "qcore forwarded write"):
        assert (found[name].attributes or {})["error.type"] == "Overloaded"
        assert found[name].status.description == "full"
    recorder.step(1, [AppendLog(1, [Entry(1, 1, "command", "x", 0)]), SaveCommit(1)])
    recorder.durable(1)
    assert len(exported.get_finished_spans()) == 3  # nothing is kept of requests that have ended


@pytest.mark.parametrize("flags", ["00", ""])
def test_a_request_that_is_not_sampled_makes_no_span(
    flags: str, exported: InMemorySpanExporter
) -> None:
    recorder = OtelRecorder(trace.get_tracer("node"), 1, lambda: 5)
    message_id = with_traceparent("7", PARENT[:-2] + flags)
    recorder.request_began(ClientRequest(1, "write", "x", 1000), message_id)
    assert recorder.outgoing_id("8", Forward(9, "write", "x", 1000)) == "8"
    recorder.request_ended(Reply(1, "", 1, None))
    recorder.stopped("")
    assert exported.get_finished_spans() == ()


@pytest.mark.parametrize("message_id", ["", "7", f"7 {PARENT}x", f"7{PARENT}", "00-0-0-01"])
def test_an_id_without_a_context_has_none(message_id: str) -> None:
    assert traceparent_in(message_id) == ""


def test_an_id_carries_a_context() -> None:
    assert traceparent_in(with_traceparent("7", PARENT)) == PARENT


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"qcore-raft\[otel\]"):
        begin_export(1, lambda: 0)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    for make in (OtelTracer, lambda: recorder_of_program(1, lambda: 0)):
        with pytest.raises(ConfigError, match=r"qcore-raft\[otel\]"):
            make()
