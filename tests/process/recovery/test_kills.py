"""kill -9 of nodes and of commands: what they leave is sound, and the work can go on."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from qcore.client import SyncClient
from qcore.errors import QcoreError
from qcore.processes import ProcessCluster
from qcore.recovery.checks.data_dir_check import check_data_dir
from qcore.recovery.clusters.new_cluster_state import INDEX_BUMP
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.commands import run_qcore
from tests.recovery.directories import make
from tests.recovery.test_restore import state_text, write_file

pytestmark = [pytest.mark.process, pytest.mark.long]

COMPACTING = ("--snapshot-entries", "100", "--keep-entries", "30")


def test_killed_nodes_leave_sound_directories(tmp_path: Path) -> None:
    rng = random.Random(1)
    ended = threading.Event()
    arguments = (*ARGUMENTS, "--machine", "register", *COMPACTING)
    with ProcessCluster(tmp_path, size=3, arguments=arguments) as cluster:
        cluster.start()
        initialise(cluster)

        def load() -> None:
            with SyncClient(cluster.endpoints) as client:
                while not ended.is_set():
                    command = {"op": "set", "key": f"k{rng.randrange(50)}", "value": "x" * 500}
                    with suppress(QcoreError):
                        client.execute(json.dumps(command))

        workers = [threading.Thread(target=load) for _ in range(4)]
        for worker in workers:
            worker.start()
        try:
            for _ in range(20):
                node = cluster.nodes[rng.randrange(3) + 1]
                time.sleep(rng.random() * 0.5)
                node.kill()
                report = check_data_dir(node.data_dir)
                assert report.findings == []
                assert report.process is None
                node.start()
                cluster.wait_leader()
        finally:
            ended.set()
            for worker in workers:
                worker.join()
        cluster.wait_converged()
    assert_no_traceback(cluster)


def test_recovery_that_is_killed_leaves_the_old_or_the_new_state(tmp_path: Path) -> None:
    """kill -9 at any moment: the directory is sound, and holds the old log or the new cluster."""
    sample = make(tmp_path / "sample")
    rng = random.Random(1)
    words = [sys.executable, "-m", "qcore", "node", "recover", "--machine", "register", "--yes"]
    for number in range(40):
        path = sample.copy(tmp_path / "n")
        process = subprocess.Popen([*words, "--data-dir", str(path)], stdout=subprocess.DEVNULL)
        if number % 8:
            # The work itself is at the end of the command's life.
            while process.poll() is None and not [*path.glob("before-*")]:
                time.sleep(0.001)
            time.sleep(rng.random() * 0.05)
            process.kill()
        code = process.wait()
        report = check_data_dir(path)
        assert report.faults == []
        assert report.log is not None
        assert report.log.membership is not None
        is_new = report.log.membership.cluster_id != "north"
        assert is_new or code != 0
        assert report.log.state.last_index == (60 + INDEX_BUMP if is_new else 60)
        assert report.log.identity.cluster_id == report.log.membership.cluster_id


def test_restore_that_is_killed_can_be_repeated(tmp_path: Path) -> None:
    """What it leaves is nothing, a new directory, or the whole state."""
    backup = tmp_path / "backup.snapshot"
    write_file(backup, state_text() + "x" * 1_000_000)
    rng = random.Random(1)
    for number in range(30):
        path = tmp_path / f"n{number}"
        words = ["snapshot", "restore", str(backup), "--id", "1", "--members", "1=127.0.0.1:1"]
        words += ["--data-dir", str(path)]
        process = subprocess.Popen(
            [sys.executable, "-m", "qcore", *words], stdout=subprocess.DEVNULL
        )
        while process.poll() is None and not path.exists():
            time.sleep(0.001)
        time.sleep(rng.random() * 0.1)
        process.kill()
        process.wait()
        again = run_qcore(*words)
        if again.returncode:
            assert "belongs to cluster" in again.stderr
        report = check_data_dir(path)
        assert report.findings == []
        assert report.log is not None
        assert report.log.state.last_index == 40 + INDEX_BUMP
