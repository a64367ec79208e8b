"""A process of light load: `python -m benchmarks.cluster.light_load` reads a `Load` and prints a `Measured`.

The same loop serves every system: it receives, counts, and sends the next request of each slot that was answered.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from dataclasses import asdict

from benchmarks.cluster.etcd_wire import GrpcWire, HttpWire
from benchmarks.cluster.processor_time import processor_seconds
from benchmarks.cluster.qcore_wire import QcoreWire
from benchmarks.cluster.wire import Load, LoadError, Measured, Wire

WIRES: dict[str, type[QcoreWire] | type[HttpWire] | type[GrpcWire]] = {
    "qcore": QcoreWire,
    "etcd": HttpWire,
    "etcd-grpc": GrpcWire,
}
_RECEIVE = 262_144


def shares(in_flight: int, connections: int) -> list[int]:
    """How many requests each connection keeps in flight."""
    each, more = divmod(in_flight, connections)
    return [each + (position < more) for position in range(connections)]


def generate(load: Load) -> Measured:
    """Keep the requests in flight for this time."""
    host, _, port = load.endpoint.rpartition(":")
    wires: list[tuple[socket.socket, Wire, list[float]]] = []
    poll = select.epoll()
    by_number: dict[int, tuple[socket.socket, Wire, list[float]]] = {}
    for slots in shares(load.in_flight, load.connections):
        wire: Wire = WIRES[load.system](load, slots)
        opened = wire.open((host, int(port)))
        one = (opened, wire, [0.0] * slots)
        wires.append(one)
        by_number[opened.fileno()] = one
        poll.register(opened.fileno(), select.EPOLLIN)
    alone = wires if len(wires) == 1 else None
    latencies: list[float] = []
    errors = 0
    clock = time.perf_counter
    for opened, wire, sent in wires:
        now = clock()
        sent[:] = [now] * len(sent)
        opened.sendall(wire.request(range(len(sent))))
    begin = clock() + load.warm_up
    end = begin + load.seconds
    started, own = 0.0, 0.0
    before: tuple[float, ...] = ()
    counting = False
    while True:
        # With one connection a receive that waits spares a call, whatever the system is.
        for opened, wire, sent in alone or [by_number[number] for number, _ in poll.poll()]:
            data = opened.recv(_RECEIVE)
            if not data:
                raise LoadError("the node closed the connection")
            done = wire.receive(data)
            if wire.answer:
                opened.sendall(wire.answer)
                wire.answer = b""
            if not done:
                continue
            now = clock()
            slots_done: list[int] = []
            for slot, right in done:
                if counting:
                    if right:
                        latencies.append(now - sent[slot])
                    else:
                        errors += 1
                sent[slot] = now
                slots_done.append(slot)
            opened.sendall(wire.request(slots_done))
        now = clock()
        if not counting and now >= begin:
            counting, started = True, now
            before, own = processor_seconds(load.processes), time.process_time()
        elif now >= end:
            break
    client = time.process_time() - own
    after = processor_seconds(load.processes)
    took = clock() - started
    for opened, _, _ in wires:
        opened.close()
    if not latencies:
        failure = next((wire.failure for _, wire, _ in wires if wire.failure), b"")
        raise LoadError(f"no request succeeded, and {errors} failed: {failure!r}")
    return summarise(
        latencies,
        errors,
        took,
        client,
        [last - first for last, first in zip(after, before, strict=True)],
    )


def summarise(
    latencies: list[float], errors: int, took: float, client: float, processes: list[float]
) -> Measured:
    """The figures of a measurement, all times in seconds."""
    ordered = sorted(latencies)
    number = len(ordered)
    return Measured(
        per_s=number / took,
        p50_ms=1000 * ordered[number // 2],
        p99_ms=1000 * ordered[int(number * 0.99)],
        errors=errors,
        client_us=1e6 * client / number,
        processes_us=tuple(1e6 * seconds / number for seconds in processes),
    )


def decode(text: str) -> Load:
    """The load of a JSON text."""
    fields = json.loads(text)
    return Load(**{**fields, "processes": tuple(fields.get("processes", ()))})


def encode(load: Load) -> str:
    """The JSON text of a load."""
    return json.dumps(asdict(load))


def main() -> None:
    """Generate the load of the JSON text on stdin."""
    print(json.dumps(asdict(generate(decode(sys.stdin.read())))))


if __name__ == "__main__":
    main()
