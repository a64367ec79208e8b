"""A node as a daemon: SIGHUP stops it unless it ignores SIGHUP, and it warns if other users can read its data."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from qcore.processes import NodeProcess, free_ports, wait_for

pytestmark = pytest.mark.process


def warnings_of_readers(node: NodeProcess) -> list[str]:
    return [line for line in node.log_text().splitlines() if "can read the node's data" in line]


def test_sighup_stops_a_node_unless_ignored_at_startup(tmp_path: Path) -> None:
    plain, nohup = (
        NodeProcess(node_id, port, tmp_path) for node_id, port in enumerate(free_ports(2), start=1)
    )
    plain.spawn()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        nohup.spawn()  # the node inherits this
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        for node in (plain, nohup):
            node.wait_live()
            node.signal(signal.SIGHUP)
            node.signal(
                signal.SIGHUP
            )  # a shell sends the signal twice: this must not count as the second signal
        assert plain.wait() == 0
        assert "signal=SIGHUP" in plain.log_text()
        assert "stopped" in plain.log_text()
        wait_for(lambda: nohup.get("/livez")[0] == 200, 10, "the other node, which keeps running")
        assert nohup.stop() == 0
        assert "SIGHUP" not in nohup.log_text()
        assert warnings_of_readers(nohup) == []

        # The modes that 0.1.0 used: the node keeps them and warns.
        nohup.data_dir.chmod(0o755)
        (nohup.data_dir / "log.db").chmod(0o644)
        nohup.start()
        assert nohup.stop() == 0
        (line,) = warnings_of_readers(nohup)
        assert "files=log.db" in line
        assert "chmod 700" in line
    finally:
        plain.kill()
        nohup.kill()
