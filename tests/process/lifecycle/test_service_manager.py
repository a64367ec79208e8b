"""A node reports to its service manager: the messages of sd_notify, over a real datagram socket."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qcore.node.observability.logs import NodeLog
from qcore.node.process.service_manager import ServiceManager, watchdog_interval_s
from qcore.processes import NodeProcess, free_ports, wait_for
from tests.checkout import CHECKOUT
from tests.process.support.wire_client import WireClient

PROGRAMS = CHECKOUT / "tests" / "process" / "programs"


class Manager:
    """The end of the service manager."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self.socket.settimeout(30)

    def next(self) -> list[str]:
        """The lines of the next message."""
        return self.socket.recv(4096).decode().split("\n")

    def until(self, line: str) -> list[str]:
        """The lines of the next message that has this line."""
        while line not in (lines := self.next()):
            pass
        return lines

    def until_silent(self, timeout_s: float) -> None:
        """Read messages until none comes for this time."""
        self.socket.settimeout(timeout_s)
        with suppress(TimeoutError):
            while self.next():
                pass
        self.socket.settimeout(30)

    def waiting(self) -> list[str]:
        """The lines that have arrived and were not read."""
        self.socket.setblocking(False)
        lines: list[str] = []
        try:
            while True:
                lines += self.next()
        except BlockingIOError:
            self.socket.settimeout(30)
            return lines


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.socket.close()


@pytest.mark.process
def test_a_node_reports_its_life_to_the_manager(tmp_path: Path, manager: Manager) -> None:
    variables = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "100000"}
    node = NodeProcess(1, free_ports(1)[0], tmp_path, environment=variables)
    node.spawn()
    try:
        ready, status = manager.next()
        assert ready == "READY=1"  # a node that waits for its cluster is ready for `Init`
        assert status.startswith("STATUS=learner in term 0; cannot serve requests: ")
        assert "belongs to no cluster yet" in status
        assert node.get("/livez")[0] == 200
        for _ in range(3):
            manager.until("WATCHDOG=1")
        node.signal(signal.SIGHUP)
        while (lines := manager.next())[0] != "RELOADING=1":
            assert lines == ["WATCHDOG=1"]
        assert lines[1].startswith("MONOTONIC_USEC=")
        assert int(lines[1].split("=")[1]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        manager.until("READY=1")
        node.signal(signal.SIGTERM)
        assert manager.until("STOPPING=1") == ["STOPPING=1", "STATUS=stopping"]
        assert node.wait() == 0
        assert "cannot be reached" not in node.log_text()
    finally:
        node.kill()


@pytest.mark.process
@pytest.mark.long
def test_a_hung_node_shows_where_and_serves_again(tmp_path: Path, manager: Manager) -> None:
    """This test does what systemd does: if no ping comes within WatchdogSec, SIGABRT, and then another start."""
    watchdog_s = 1.0
    variables = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": f"{watchdog_s * 1e6:.0f}"}
    machine = f"{PROGRAMS / 'hanging_machine.py'}:HangingMachine"
    port = free_ports(1)[0]
    node = NodeProcess(1, port, tmp_path, ["--machine", machine], environment=variables)
    node.spawn()
    try:
        manager.until("READY=1")
        with WireClient(node.address) as client:
            assert client.ask("Init", nodes=[]) == {"Ok": None}
            assert client.ask("Perform", request={"Write": "x"})["Write"]["response"] == "1"
            client.send({"Perform": {"id": "hang", "request": {"Read": "hang"}}})
            manager.until_silent(watchdog_s)
            assert node.running
        node.signal(signal.SIGABRT)
        assert node.wait() == -signal.SIGABRT
        assert "hanging_machine.py" in node.log_text()
        assert "in query" in node.log_text()
        node.spawn()
        manager.until("READY=1")
        wait_for(lambda: node.get("/readyz")[0] == 200, 30, "the node to serve")
        with WireClient(node.address) as client:
            assert client.ask("Perform", request={"Read": "count"})["Read"]["response"] == "1"
    finally:
        node.kill()


def test_a_blocked_event_loop_pings_no_watchdog() -> None:
    manager = Manager(f"@qcore-test-{os.getpid()}")  # Linux: a name without a file
    variables = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "20000"}

    async def run() -> None:
        reporter = ServiceManager(variables, lambda: "leader", NodeLog(1))
        reporter.ready()
        assert "WATCHDOG=1" in manager.waiting()
        time.sleep(0.1)  # noqa: ASYNC251 - the fault
        assert manager.waiting() == []
        await asyncio.sleep(0.05)
        assert "WATCHDOG=1" in manager.waiting()
        reporter.close()

    asyncio.run(run())
    manager.socket.close()


def test_a_changed_status_is_sent_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcore.node.process.service_manager._STATUS_INTERVAL_S", 0.005)
    manager, states = Manager(str(tmp_path / "notify")), ["follower", "leader\nREADY=1"]

    async def run() -> None:
        reporter = ServiceManager({"NOTIFY_SOCKET": manager.address}, lambda: states[0], NodeLog(1))
        reporter.ready()
        assert manager.next() == ["READY=1", "STATUS=follower"]
        del states[0]
        await asyncio.sleep(0.1)
        assert manager.waiting() == ["STATUS=leader\\nREADY=1"]  # one line, whatever the state says
        reporter.close()

    asyncio.run(run())
    manager.socket.close()


def test_a_node_that_starts_is_not_ready_after_sighup(manager: Manager) -> None:
    reporter = ServiceManager({"NOTIFY_SOCKET": manager.address}, lambda: "", NodeLog(1))
    reporter.reloading()
    reporter.reloaded()
    assert manager.waiting() == []


def test_a_silent_manager_costs_one_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "no")}, lambda: "", NodeLog(1))
    reporter.stopping()
    reporter.stopping()
    assert [record.message for record in caplog.records] == [
        "the service manager cannot be reached"
    ]
    ServiceManager({}, lambda: "", NodeLog(1)).ready()  # no manager, and no event loop


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_the_watchdog_of_another_process_is_ignored(
    variables: dict[str, str], seconds: float
) -> None:
    assert watchdog_interval_s(variables, 7) == seconds
