"""The example of a web service: three real workers, of which the leading one is killed."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qcore.processes import free_ports, wait_for
from tests.checkout import CHECKOUT, EXAMPLES

pytestmark = pytest.mark.process


class Worker:
    """One process of `examples/web/service.py`."""

    def __init__(self, number: int, port: int, nodes: str, folder: Path) -> None:
        self.number = number
        self.log_path = folder / f"worker{number}.log"
        self._http = f"127.0.0.1:{port}"
        self._command = [
            *(sys.executable, str(EXAMPLES / "web/service.py"), str(number)),
            *("--http", self._http, "--nodes", nodes, "--data", str(folder / str(number))),
        ]
        self.start()

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            )

    def ask(self, path: str, body: bytes | None = None) -> Any:
        """The response to a GET, or with a body to a PUT; None if the worker cannot answer now."""
        method = "GET" if body is None else "PUT"
        request = urllib.request.Request(f"http://{self._http}{path}", data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            return None
        except OSError:
            return None


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Worker]]:
    ports = free_ports(6)
    nodes = ",".join(f"{number}=127.0.0.1:{ports[number + 2]}" for number in (1, 2, 3))
    started = [Worker(number, ports[number - 1], nodes, tmp_path) for number in (1, 2, 3)]
    try:
        yield started
        for worker in started:
            worker.process.send_signal(signal.SIGTERM)
        for worker in started:
            assert worker.process.wait(30) == 0, worker.log_path.read_text()
            assert "Traceback" not in worker.log_path.read_text()
    finally:
        for worker in started:
            worker.process.kill()
            worker.process.wait()


def job_of(workers: list[Worker]) -> tuple[Worker, dict[str, Any]] | None:
    """The worker that leads and has run the job in this term, and the last run."""
    for worker in workers:
        state, run = worker.ask("/leader"), worker.ask("/keys/job")
        if state and run and state["is_leader"] and run["value"]:
            value = run["value"]
            if (value["worker"], value["term"]) == (worker.number, state["term"]):
                return worker, value
    return None


def test_another_worker_leads_after_a_kill(workers: list[Worker]) -> None:
    first, before = wait_for(lambda: job_of(workers), 60, "the job of the first leader")
    rest = [worker for worker in workers if worker is not first]
    assert rest[0].ask("/keys/visits", b"5") == {"ok": True, "value": 5}
    assert rest[1].ask("/keys/visits") == {"ok": True, "value": 5}

    first.process.kill()
    first.process.wait()
    _, after = wait_for(lambda: job_of(rest), 60, "the job of another leader")
    assert after["term"] > before["term"]
    assert after["runs"] > before["runs"]
    assert rest[0].ask("/keys/visits") == {"ok": True, "value": 5}
    wait_for(lambda: rest[1].ask("/keys/visits", b'"six"'), 60, "a write without the first leader")

    first.start()
    seen = wait_for(lambda: first.ask("/keys/visits"), 60, "the restarted worker")
    assert seen == {"ok": True, "value": "six"}


@pytest.mark.parametrize("missing", ["starlette.applications", "uvicorn"])
def test_a_missing_library_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLES / "web/service.py"))
    assert str(ended.value.code) == f"{missing} is not installed: pip install 'qcore-raft[web]'"


def test_a_wrong_address_is_an_error_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["1", "--http", "here", "--nodes", "1=127.0.0.1:1", "--data", "unused"]
    monkeypatch.setattr(sys, "argv", ["service.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLES / "web/service.py"), run_name="__main__")
    assert str(ended.value.code).startswith("error: --http: 'here'")
