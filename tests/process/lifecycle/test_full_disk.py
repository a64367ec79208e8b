"""A node whose disk is full when it joins its cluster waits, joins later, and applies nothing twice."""

from __future__ import annotations

from errno import ENOSPC
from pathlib import Path

import pytest

from qcore.processes import NodeProcess, free_ports, wait_for
from tests.process.conftest import ARGUMENTS
from tests.process.support.wire_client import WireClient
from tests.storage.faults import build, failing, unavailable_reason

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(unavailable_reason() is not None, reason=unavailable_reason() or ""),
]


#: The writes before this one are the first configuration. This one begins the node's identity.
FIRST_THAT_FAILS = 9


def test_a_node_with_a_full_disk_joins_once_there_is_space(tmp_path: Path) -> None:
    full = tmp_path / "full"
    node = NodeProcess(1, free_ports(1)[0], tmp_path, ARGUMENTS)
    node.environment = failing(
        build(tmp_path), node.data_dir, "write", ENOSPC, nth=FIRST_THAT_FAILS, times=0, gate=full
    )
    try:
        node.start()
        full.touch()
        with WireClient(node.address) as client:
            client.send({"Init": {"id": "1", "nodes": []}})
            wait_for(lambda: "disk full" in node.log_text(), 60, "the disk to be full")
            full.unlink()
            assert client.receive() == {"InitResponse": {"id": "1", "response": {"Ok": None}}}
            wait_for(lambda: node.status().get("state") == "Leader", 60, "the node to lead")
        assert node.stop() == 0
        node.start()
        wait_for(lambda: node.status().get("state") == "Leader", 60, "the node to lead again")
        assert node.stop() == 0
    finally:
        node.kill()
    text = node.log_text()
    assert "the disk has space again" in text
    assert "fatal" not in text
    assert "Traceback" not in text
