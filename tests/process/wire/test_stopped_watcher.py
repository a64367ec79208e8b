"""A watching process that is stopped: it is cut off, and disturbs neither the writes nor the other watchers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qcore.processes import ProcessCluster
from tests.checkout import CHECKOUT
from tests.machines.entity.harness import write
from tests.process.support.wire_client import WireClient
from tests.process.wire.test_notifications import Watcher, build

pytestmark = [pytest.mark.process, pytest.mark.long]

BOUNDS = ("--max-watch-queue-bytes", str(256 * 1024), "--watch-history-bytes")
PROGRAM = "tests.process.support.watching_process"
LARGE = "x" * 30_000


def email_of(user: object, *context: str) -> dict[str, Any]:
    """The configuration of a watch."""
    content = {"entity_id": user, "field_type": "Email", "trigger_on_change": False}
    return {"EntityId": {**content, "context": [*context]}}


def watch_figures(client: WireClient) -> dict[str, Any]:
    figures: dict[str, Any] = client.ask("GetMetrics")["qcore"]["watches"]
    return figures


@pytest.mark.parametrize(("history_bytes", "resumes"), [(256 << 20, True), (1 << 20, False)])
def test_a_stopped_watcher_is_cut_off_and_disturbs_no_client(
    tmp_path: Path, history_bytes: int, resumes: bool
) -> None:
    with ProcessCluster(tmp_path, size=1, arguments=(*BOUNDS, str(history_bytes))) as cluster:
        cluster.start()
        address = cluster.nodes[1].address
        with WireClient(address) as client:
            assert client.ask("Init", nodes=[]) == {"Ok": None}
            _, user = build(client)
            reads = Watcher(address, email_of(user))
            last = 10_000
            config = json.dumps(email_of(user, "Age"))
            process = subprocess.Popen(
                [sys.executable, "-m", PROGRAM, address, config, str(last)],
                cwd=CHECKOUT,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            try:
                begun = json.loads(process.stdout.readline())["begun"]
                os.kill(process.pid, signal.SIGSTOP)
                places = []
                number = 0
                while not watch_figures(client)["cut_off"]:
                    for _ in range(20):
                        number += 1
                        places.append(set_email(client, reads, user, f"{number} {LARGE}"))
                    assert number < 2000, "what waits for the stopped process must be bounded"
                rest = [f"y {LARGE}"] * 60
                places += [set_email(client, reads, user, text) for text in rest]
                places.append(set_email(client, reads, user, f"{last} "))
                assert watch_figures(client)["watches"] == 1
                os.kill(process.pid, signal.SIGCONT)
                lines = [json.loads(line) for line in process.stdout]
                assert process.wait(20) == 0
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
    seen = [each["seen"][:2] for each in lines if "seen" in each]
    errors = [each["error"] for each in lines if "error" in each]
    assert min(places) > begun
    if resumes:
        assert errors
        assert set(errors) == {"WatchOverflow"}
        assert seen == places
    else:
        assert errors == ["WatchOverflow", "WatchCompacted"]
        assert seen == places[: len(seen)]
        assert 0 < len(seen) < len(places)


def set_email(client: WireClient, reads: Watcher, user: object, text: str) -> list[int]:
    """Write, and return the position that the other watcher receives."""
    assert "Ok" in client.ask("StorePerform", requests=[write(user, "Email", {"String": text})])
    (notification,) = reads.receive(1)
    assert notification["current_value"] == {"String": text}
    return [notification["index"], notification["sequence"]]
