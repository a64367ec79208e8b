"""PySyncObj alone: three processes that replicate a value of 60 bytes. Run by the Python of out/bench-peers.

    out/bench-peers/bin/python benchmarks/peers/pysyncobj_cluster.py SECONDS [IN_FLIGHT ...]

Prints a JSON object. PySyncObj has no protocol for clients: its user is a part of one of the servers. So the load is a
thread of the leader's process, and no request crosses a socket before it is replicated. The journal is on, but
PySyncObj writes it to mapped memory and does not sync it, so no command is durable when it is acknowledged.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

from pysyncobj import (  # type: ignore[import-not-found] # only out/bench-peers has it
    SyncObj,
    SyncObjConf,
    replicated,
)

VALUE = "v" * 60


class Register(SyncObj):  # type: ignore[misc] # PySyncObj has no types
    """The replicated value."""

    def __init__(self, own: str, others: list[str], journal: str, timeout: float) -> None:
        super().__init__(
            own,
            others,
            conf=SyncObjConf(
                journalFile=journal,
                fullDumpFile=f"{journal}.dump",
                raftMinTimeout=timeout,
                raftMaxTimeout=2 * timeout,
                appendEntriesUseBatch=False,  # with batches a command waits for the next tick of 50 ms
                connectionRetryTime=0.1,
                connectionTimeout=10.0,
            ),
        )
        self.value = ""

    @replicated  # type: ignore[untyped-decorator] # PySyncObj has no types
    def write(self, value: str) -> int:
        """Set the value."""
        self.value = value
        return len(value)


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def measure(register: Register, in_flight: int, seconds: float) -> dict[str, float]:
    """Keep writes in flight for this time, after a warm-up of half a second."""
    latencies: list[float] = []
    errors = 0
    begin = time.perf_counter() + 0.5
    end = begin + seconds
    idle = threading.Semaphore(0)

    def next_write() -> None:
        sent = time.perf_counter()
        if sent >= end:
            idle.release()
            return

        def done(result: object, error: int) -> None:
            nonlocal errors
            now = time.perf_counter()
            if begin <= now <= end:
                if error == 0 and result == len(VALUE):
                    latencies.append(now - sent)
                else:
                    errors += 1
            next_write()

        register.write(VALUE, callback=done)

    for _ in range(in_flight):
        next_write()
    for _ in range(in_flight):
        idle.acquire()
    ordered = sorted(latencies) or [float("nan")]
    return {
        "in_flight": in_flight,
        "per_s": len(latencies) / seconds,
        "p50_ms": 1000 * ordered[len(ordered) // 2],
        "p99_ms": 1000 * ordered[int(len(ordered) * 0.99)],
        "errors": errors,
    }


def wait_for(probe: Callable[[], bool]) -> None:
    """SystemExit if it does not come true within 30 s."""
    deadline = time.monotonic() + 30
    while not probe():
        if time.monotonic() > deadline:
            raise SystemExit("PySyncObj did not elect this process")
        time.sleep(0.02)


def main() -> None:
    """Start two other processes, and measure in this one."""
    if sys.argv[1] == "--follow":
        own, others, journal = sys.argv[2], sys.argv[3].split(","), sys.argv[4]
        Register(own, others, journal, 3.0)
        signal.pause()
    seconds = float(sys.argv[1])
    widths = [int(text) for text in sys.argv[2:]] or [1, 64, 256]
    addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
    followers: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("QCORE_BENCH_DIR")) as directory:
        try:
            for place in (1, 2):
                others = [address for address in addresses if address != addresses[place]]
                journal = os.path.join(directory, f"journal{place}")
                command = [sys.executable, __file__, "--follow"]
                followers.append(
                    subprocess.Popen([*command, addresses[place], ",".join(others), journal])
                )
            register = Register(
                addresses[0], addresses[1:], os.path.join(directory, "journal0"), 0.4
            )
            # The others wait for seconds before they campaign, so this process leads.
            wait_for(lambda: register.isReady() and str(register._getLeader()) == addresses[0])
            rows = [measure(register, width, seconds) for width in widths]
            register.destroy()
        finally:
            for follower in followers:
                follower.kill()
                follower.wait()
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
