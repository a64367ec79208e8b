"""Frames that cause much work for their size, and their impact on other clients.

    python -m tests.process.attacks.heavy_frames

sends all of them at full size to three nodes with default settings, and prints a table.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qcore.processes import NodeProcess, ProcessCluster
from tests.process.attacks import entity_requests
from tests.process.attacks.amplification import report
from tests.process.attacks.attacker import Attacker, Json
from tests.process.conftest import initialise
from tests.process.support.wire_client import WireClient

MIB = 1024 * 1024
#: Just below the default size limit of a client's frame.
JUST_BELOW = 6 * MIB + 60 * 1024

_OWN_STALL = re.compile(r"^qcore_event_loop_stall_own_seconds_max (\S+)$", re.MULTILINE)
_PERFORM = b'{"Perform":{"id":"heavy","request":'


@dataclass(slots=True, frozen=True)
class ClientImpact:
    """The impact of an attack.

    Attributes:
        answers, worst_ms: the number of writes of another client, and the duration of the slowest one.
        elections: the number of new terms.
        peak_mib: the largest memory of a node since its start.
        stall_ms: the longest stall of a node's event loop since its start, without waits for a processor.
    """

    answers: int
    worst_ms: float
    elections: int
    peak_mib: float
    stall_ms: float

    def row(self) -> str:
        return (
            f"{self.answers:5} writes, worst {self.worst_ms:6.0f} ms, {self.elections} elections, "
            f"{self.peak_mib:4.0f} MiB, stall {self.stall_ms:4.0f} ms"
        )


def repeated(begin: bytes, item: bytes, end: bytes, size: int) -> bytes:
    """`begin`, as many comma-separated items as fit into `size` bytes, and `end`."""
    number = max(1, (size - len(begin) - len(end) + 1) // (len(item) + 1))
    return begin + b",".join([item] * number) + end


def update(value: bytes) -> tuple[bytes, bytes]:
    """The text before and after the part `HERE` of the value of a valid write."""
    begin, _, end = value.partition(b"HERE")
    before = _PERFORM + b'{"UpdateEntity":{"request":[{"Write":{"entity_id":{"typ":"T","id":1},'
    before += (
        b'"field_type":"F","push_condition":"Always","adjust_behavior":"Set","write_time":null,'
    )
    before += b'"writer_id":null,"value":'
    return before + begin, end + b"}}]}}}}"


def frames(size: int) -> dict[str, bytes]:
    """Frames of about this many bytes, by name."""
    half = size // 2
    blob, text = update(b'{"Blob":[HERE]}'), update(b'{"String":"HERE"}')
    keys, lists = (_PERFORM + b'{"X":{', b"}}}}"), update(b'{"EntityList":[HERE]}')
    nested = (size - 60) // 2
    return {
        "empty objects": repeated(b"[", b"{}", b"]", size),
        "empty lists in an unknown field": repeated(_PERFORM + b'null,"X":[', b"[]", b"]}}", size),
        "nested lists": _PERFORM + b"[" * nested + b"]" * nested + b"}}",
        "a list of lists of lists": repeated(
            _PERFORM + b"[", b"[" * 90 + b"0" + b"]" * 90, b"]}}", size
        ),
        "numbers": repeated(blob[0], b"0", blob[1], size),
        "escapes": text[0] + b"\\u0041" * (size // 6 - 60) + text[1],
        "short escapes": text[0] + b"\\n" * (half - 200) + text[1],
        "one key many times": repeated(keys[0], b'"a":0', keys[1], size),
        "ids": repeated(lists[0], b'{"typ":"T","id":1}', lists[1], size),
        "long numbers": repeated(_PERFORM + b"[", b"9" * 4000, b"]}}", size),
        "bad envelopes": repeated(
            b"[", b'{"Perform":{"id":"1","request":{"Write":1}}}', b"]", size
        ),
        "unknown fields": _PERFORM
        + b'null,"consistency":{'
        + b",".join(b'"%x":0' % number for number in range(size // 9))
        + b"}}}",
    }


def at_the_bounds() -> dict[str, bytes]:
    """The largest frame of each kind that is still parsed.

    None of them becomes a command: this test is not about the log and the state machines.
    """
    wanted = {
        "empty lists in an unknown field": 220_000,
        "numbers": MIB,
        "escapes": 6 * MIB,
        "one key many times": 700_000,
        "ids": MIB,
        "long numbers": MIB,
        "bad envelopes": 4000 * 45,
        "unknown fields": 1_050_000,
    }
    parsed = {name: frames(size)[name] for name, size in wanted.items()}
    return {name: frame[:-1] + b',"Unknown":{}}' for name, frame in parsed.items()} | {
        "bad envelopes": parsed["bad envelopes"],
        # Each text needs four bytes for every character.
        "texts": b'{"GetMetrics":{"id":"heavy","Unknown":[%b]}}'
        % b",".join('"\U0001f600123456%x"'.encode() % number for number in range(290_000)),
    }


# --- the attack: a separate process, so that it does not slow down the other client -------------------


def _send_repeatedly(address: str, frame: bytes, until: float) -> None:
    while time.monotonic() < until:
        try:
            with Attacker(address) as attacker:
                while not attacker.closed and time.monotonic() < until:
                    attacker.send(frame)
                    attacker.run(1, until - time.monotonic())
                    attacker.replies.clear()
        except OSError:
            time.sleep(0.01)  # the node closed the connection during the handshake or while we sent


def _attack(
    addresses: Sequence[str], frames: Sequence[bytes], connections: int, seconds: float
) -> None:
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=_send_repeatedly, args=(address, frame, until))
        for address in addresses
        for frame in frames
        for _ in range(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def attacked(
    addresses: Sequence[str], frames: Sequence[bytes], *, connections: int, seconds: float
) -> Iterator[multiprocessing.process.BaseProcess]:
    """Send each frame to each node repeatedly, over this many connections in parallel."""
    process = multiprocessing.get_context("spawn").Process(
        target=_attack, args=(addresses, frames, connections, seconds), daemon=True
    )
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


# --- the other client --------------------------------------------------------------------------------


def terms(cluster: ProcessCluster) -> int:
    """The highest term of any node."""
    statuses = [json.loads(node.get("/status", 20)[1]) for node in cluster.nodes.values()]
    highest: int = max(status["current_term"] for status in statuses)
    return highest


def peak_mib(node: NodeProcess) -> float:
    """The largest memory of the node since its start, MiB."""
    for line in Path(f"/proc/{node.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmHWM")


def stall_ms(node: NodeProcess) -> float:
    """The longest stall since the node's start, without waits for a processor, ms."""
    found = _OWN_STALL.search(node.get("/metrics", timeout_s=20)[1])
    assert found is not None, "the metric is missing"
    return float(found[1]) * 1000


def measure_impact(
    cluster: ProcessCluster,
    write: Json,
    *frames: bytes,
    connections: int = 1,
    seconds: float = 2.0,
) -> ClientImpact:
    """Write at every node in turn while all nodes are attacked, and measure the impact."""
    before = terms(cluster)
    addresses = [node.address for node in cluster.nodes.values()]
    answers, worst = 0, 0.0
    clients = [WireClient(address, timeout_s=60) for address in addresses]
    with attacked(addresses, frames, connections=connections, seconds=seconds) as attack:
        while attack.is_alive():
            for client in clients:
                began = time.monotonic()
                response = client.ask("Perform", request=write)
                worst = max(worst, time.monotonic() - began)
                assert response["UpdateEntity"]["error"] is None, response
                answers += 1
            time.sleep(0.005)
    for client in clients:
        client.close()
    peak = max(peak_mib(node) for node in cluster.nodes.values())
    stall = max(stall_ms(node) for node in cluster.nodes.values())
    return ClientImpact(answers, worst * 1000, terms(cluster) - before, peak, stall)


@contextmanager
def cluster_for_frames(directory: Path, *arguments: str) -> Iterator[tuple[ProcessCluster, Json]]:
    """Three nodes of the entity store with a leader, and a valid write for them."""
    with ProcessCluster(directory, 3, arguments) as cluster:
        cluster.start()
        initialise(cluster)
        with WireClient(cluster.endpoints[0]) as client:
            schema = entity_requests.set_schema("T", entity_requests.field("String", "F", ""))
            client.ask("Perform", request=schema)
            created = client.ask("Perform", request=entity_requests.create("T"))
            entity = created["CreateEntity"]["response"]
        yield cluster, entity_requests.update(entity_requests.write(entity, "F", {"String": "x"}))


def main() -> None:
    """Run all attacks and print their impact."""
    cases = {
        "at the bounds": at_the_bounds(),
        "just below the limit": frames(JUST_BELOW),
        "16 MiB": frames(16 * MIB - 1024),
        "8 MiB": frames(8 * MIB),
    }
    only = sys.argv[1:]
    with (
        tempfile.TemporaryDirectory() as directory,
        cluster_for_frames(Path(directory)) as (cluster, write),
    ):
        time.sleep(1)
        report(f"idle: {measure_impact(cluster, write).row()}")
        for size, by_name in cases.items():
            for name, frame in by_name.items():
                for connections in (1, 4):
                    if only and size not in only:
                        continue
                    impact = measure_impact(cluster, write, frame, connections=connections)
                    report(f"{size:20} {name:32} x{connections}: {impact.row()}")


if __name__ == "__main__":
    main()
