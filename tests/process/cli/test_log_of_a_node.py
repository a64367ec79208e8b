"""`qcore log` of a running node: it follows a node under writes, and never keeps the node from its checkpoints."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import ARGUMENTS
from tests.process.support.commands import run_qcore
from tests.process.support.wire_client import WireClient, string_schema, write_field

pytestmark = pytest.mark.process

#: `qcore.storage.sqlite.sqlite_storage.WAL_BYTES`; a transaction may pass it before the checkpoint.
MAX_WAL_BYTES = 10 << 20


def write_large(node: NodeProcess, count: int) -> None:
    """Write more to a node than its write-ahead file holds."""
    with WireClient(node.address) as client:
        made: Any = client.perform("CreateEntity", entity_type="Note", parent_id=None, name="n")
        for number in range(count):
            text = {"String": f"{number} " + "x" * 1_000_000}
            client.perform("UpdateEntity", request=[write_field(made["response"], "Text", text)])


@pytest.mark.long
def test_a_log_is_followed_while_the_node_writes(tmp_path: Path) -> None:
    with ProcessCluster(tmp_path, size=1, arguments=ARGUMENTS) as cluster:
        cluster.start()
        node = cluster.nodes[1]
        directory = next(tmp_path.rglob("log.db")).parent
        before = {path.name for path in directory.iterdir()}
        out = tmp_path / "followed"
        command = [sys.executable, "-m", "qcore", "log", "tail", "-f", "-o", "json", "--data-dir"]
        with out.open("w") as file:
            following = subprocess.Popen(
                [*command, str(directory)], stdout=file, stderr=subprocess.PIPE, text=True
            )
        try:
            wait_for(lambda: out.read_text() or None, 30, "the first line")
            with WireClient(node.address) as client:
                assert client.ask("Init", nodes=[[1, node.address]]) == {"Ok": None}
                cluster.wait_leader()
                client.perform("SetSchema", entity_schema=string_schema("Note", "Name", "Text"))
            write_large(node, 16)
            assert (directory / "log.db-wal").stat().st_size < MAX_WAL_BYTES
            assert {path.name for path in directory.iterdir()} == before
            node.stop()
            node.start()
            cluster.wait_leader()
            with WireClient(node.address) as client:
                client.perform("CreateEntity", entity_type="Note", parent_id=None, name="\x1b[31m")
            wait_for(lambda: "[31m" in out.read_text() or None, 30, "the last entry")
            assert following.poll() is None
            following.send_signal(signal.SIGINT)
            _, errors = following.communicate(timeout=30)
            assert (following.returncode, errors) == (130, "")
        finally:
            following.kill()
        _, *items = map(json.loads, out.read_text().splitlines())
        indexes = [item["index"] for item in items if item["kind"] not in ("compacted", "replaced")]
        assert indexes == sorted(set(indexes))
        assert len([item for item in items if "UpdateEntity" in item["what"]]) == 16

        dumped = run_qcore("log", "dump", "--data-dir", str(directory), "--first", "3")
        assert dumped.returncode == 0, dumped.stderr
        assert "\x1b" not in dumped.stdout
        assert f"voters 1 at {node.address}" in dumped.stdout
        node.stop()
        with subprocess.Popen(
            [*command, str(directory)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as orphan:
            assert orphan.stdout is not None
            orphan.stdout.readline()
            shutil.rmtree(directory)
            _, errors = orphan.communicate(timeout=30)
        assert orphan.returncode == 5
        assert "was removed" in errors
        assert "Traceback" not in errors
