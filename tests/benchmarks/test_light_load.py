"""The light generators of load send real requests, and count an answer as a success only if it is one."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from benchmarks.bench_cluster import CASES, Figures, rows_of, run_in_turns
from benchmarks.cluster.etcd_wire import GrpcWire, HttpWire
from benchmarks.cluster.lean_cluster import LeanSystem
from benchmarks.cluster.light_load import generate, shares
from benchmarks.cluster.qcore_wire import QcoreWire
from benchmarks.cluster.systems import (
    LIBRARY,
    LIGHT,
    EtcdRunning,
    EtcdSystem,
    QcoreSystem,
    System,
    measure,
)
from benchmarks.cluster.wire import Load, LoadError, Measured
from benchmarks.support.python_build import python_build
from qcore.client.client import Client
from tests.checkout import CHECKOUT

SECONDS = 0.2
ENTITY = '{"typ": "Item", "id": 6}'
needs_etcd = pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd is not installed")


def a_load(operation: str = "write", system: str = "qcore") -> Load:
    return Load(system, operation, "127.0.0.1:1", ENTITY, "some text", 2, 1, SECONDS)


@pytest.fixture(scope="module")
def node() -> Iterator[QcoreSystem]:
    with ExitStack() as stack:
        yield QcoreSystem(stack, size=1)


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdRunning]:
    with ExitStack() as stack:
        yield EtcdRunning(stack, shutil.which("etcd") or "", 1)


def answer(slot: int, error: object = None, kind: str = "Write", value: str = "some text") -> bytes:
    item = {kind: {"field_type": "Text", "value": {"String": value}}}
    response = {"UpdateEntity": {"response": [item], "error": error}}
    envelope = {"PerformResponse": {"id": str(slot), "response": response}}
    return json.dumps(envelope, separators=(",", ":")).encode()


def frame(text: bytes) -> bytes:
    return b"\x81" + (b"\x7e" + len(text).to_bytes(2, "big")) + text


def unmasked(sent: bytes) -> list[str]:
    """The ids in a frame from a client, by the rules of RFC 6455."""
    length, begin = sent[1] & 0x7F, 2
    assert sent[1] & 0x80
    if length == 126:
        length, begin = int.from_bytes(sent[2:4], "big"), 4
    key, masked = sent[begin : begin + 4], sent[begin + 4 :]
    assert len(masked) == length
    text = bytes(byte ^ key[place % 4] for place, byte in enumerate(masked))
    decoded = json.loads(text)
    return [one["Perform"]["id"] for one in (decoded if isinstance(decoded, list) else [decoded])]


def test_requests_in_flight_are_shared_by_the_connections() -> None:
    assert shares(64, 8) == [8] * 8
    assert shares(10, 4) == [3, 3, 2, 2]


def test_frames_are_masked_envelopes_with_one_id_a_slot() -> None:
    wire = QcoreWire(a_load(), 3)
    assert unmasked(wire.request([1])) == ["1"]
    assert unmasked(wire.request([0, 2, 1])) == ["0", "2", "1"]


def test_responses_are_found_in_any_pieces_and_groupings() -> None:
    together = b"[" + answer(0) + b"," + answer(1) + b"]"
    stream = frame(answer(2)) + frame(together)
    wire = QcoreWire(a_load(), 3)
    found: list[tuple[int, bool]] = []
    for place in range(len(stream)):
        found += wire.receive(stream[place : place + 1])
    assert found == [(2, True), (0, True), (1, True)]


def test_an_error_among_good_answers_counts_alone() -> None:
    wire = QcoreWire(a_load(), 3)
    together = b"[" + answer(0) + b"," + answer(1, error="no such field") + b"]"
    assert list(wire.receive(frame(together))) == [(0, True), (1, False)]


def test_a_read_of_another_value_is_an_error() -> None:
    wire = QcoreWire(a_load("read"), 1)
    assert list(wire.receive(frame(answer(0, kind="Read")))) == [(0, True)]
    assert list(wire.receive(frame(answer(0, kind="Read", value="older")))) == [(0, False)]


def test_a_message_that_answers_nothing_ends_the_load() -> None:
    wire = QcoreWire(a_load(), 1)
    with pytest.raises(LoadError, match="not a response"):
        wire.receive(frame(b'{"Error":{"id":"x","error":"not JSON"}}'))


def test_http_answers_are_found_in_any_pieces() -> None:
    wire = HttpWire(a_load(system="etcd"), 1)
    body = b'{"header":{"revision":"2"}}'
    good = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    found = [one for place in range(len(good)) for one in wire.receive(good[place : place + 1])]
    assert found == [(0, True)]
    bad = good.replace(b"200 OK", b"503 Unavailable")
    assert list(wire.receive(bad)) == [(0, False)]


def test_a_grpc_answer_without_a_message_is_an_error() -> None:
    wire = GrpcWire(a_load(system="etcd-grpc"), 2)
    wire.request([0, 1])
    message = b"\0\0\x05\0\0\0\0\0\x01" + b"\0\0\0\0\0"
    end = b"\0\0\0\x01\x05\0\0\0"
    assert list(wire.receive(message + end + b"\x01")) == [(0, True)]
    assert list(wire.receive(end + b"\x03")) == [(1, False)]


@pytest.mark.process
@pytest.mark.parametrize("module", [LIGHT, LIBRARY])
def test_a_load_writes_to_a_node_and_reads_from_it(node: QcoreSystem, module: str) -> None:
    node.module = module
    value = f"written by {module}"
    written = measure(node, "write", 5, SECONDS, value=value)
    assert written.errors == 0
    assert written.per_s > 0
    assert len(written.processes_us) == 1
    assert asyncio.run(text_of(node)) == value
    assert measure(node, "read", 5, SECONDS, value=value).errors == 0


async def text_of(node: QcoreSystem) -> object:
    async with Client(node.cluster.endpoints) as client:
        return await client.read("Item$6", "Text")


@pytest.mark.process
@pytest.mark.parametrize("in_flight", [1, 20])
def test_a_load_on_a_missing_entity_has_no_success(node: QcoreSystem, in_flight: int) -> None:
    load = node.load("write", in_flight, SECONDS, follower=False)
    with pytest.raises(LoadError, match=r"no request succeeded, and [1-9]"):
        generate(replace(load, target='{"typ": "Item", "id": 999}'))


@pytest.mark.process
def test_a_read_that_returns_another_value_fails(node: QcoreSystem) -> None:
    load = node.load("read", 4, SECONDS, follower=False, value="never written")
    with pytest.raises(LoadError, match="no request succeeded"):
        generate(load)


@needs_etcd
@pytest.mark.process
@pytest.mark.parametrize("grpc", [False, True])
def test_a_load_writes_to_etcd_and_reads_from_it(etcd: EtcdRunning, grpc: bool) -> None:
    system = EtcdSystem(etcd, grpc=grpc)
    value = f"written with {grpc=}"
    assert measure(system, "write", 5, SECONDS, value=value).errors == 0
    assert measure(system, "read", 5, SECONDS, value=value).errors == 0
    with pytest.raises(LoadError, match="no request succeeded"):
        generate(system.load("read", 5, SECONDS, follower=False, value="never written"))
    with pytest.raises(LoadError, match=r"no request succeeded, and [1-9]"):
        generate(replace(system.load("write", 2, SECONDS, follower=False), target=""))


def figures(system: str, rates: list[float]) -> Figures:
    rounds = [Measured(rate, 1.0, 2.0, 0, 90.0, (700.0, 300.0, 500.0)) for rate in rates]
    return Figures(CASES[0], system, rounds)


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds() -> None:
    ours, theirs = figures("qcore", [50.0, 90.0, 80.0]), figures("etcd", [100.0, 100.0, 200.0])
    first, second = rows_of([ours, theirs])
    assert "qcore_ratio" not in first
    assert (first["per_s"], second["per_s"], second["qcore_ratio"]) == (80.0, 100.0, 0.5)
    assert (first["leader_us"], first["follower_us"]) == (700.0, 400.0)
    assert rows_of([ours]) == [first]


@pytest.mark.long
@pytest.mark.process
def test_the_benchmark_names_its_build_and_all_loads() -> None:
    command = ["--no-etcd", "--rounds", "1", "--seconds", "0.2", "--library", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_cluster", *command],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["python"] == str(python_build())
    assert [row["case"] for row in found["cluster"]] == [str(case) for case in CASES]
    assert all(row["errors"] == 0 and row["leader_us"] > 0 for row in found["cluster"])


@pytest.mark.process
def test_systems_get_the_same_load_in_turns(node: QcoreSystem) -> None:
    other = QcoreSystem.__new__(QcoreSystem)
    other.__dict__.update(node.__dict__)
    other.name = "again"
    systems: list[System] = [node, other]
    first, second = run_in_turns(systems, CASES[1], SECONDS, 2)
    assert (first.system, second.system) == ("qcore", "again")
    assert len(first.rounds) == len(second.rounds) == 2
    assert first.to_json()["errors"] == second.to_json()["errors"] == 0


def test_the_lean_processes_answer_as_a_node_does() -> None:
    with ExitStack() as stack:
        lean = LeanSystem(stack, 2)
        found = measure(lean, "write", 5, SECONDS)
        with pytest.raises(ValueError, match="writes at their leader only"):
            measure(lean, "read", 1, SECONDS)
    assert found.errors == 0
    assert found.per_s > 0


def test_a_reset_of_a_stream_that_has_ended_counts_nothing() -> None:
    wire = GrpcWire(a_load(system="etcd-grpc"), 1)
    wire.request([0])
    ended = b"\x00\x00\x00\x01\x01\x00\x00\x00\x01"
    reset = b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x00"
    assert list(wire.receive(ended + reset)) == [(0, False)]
