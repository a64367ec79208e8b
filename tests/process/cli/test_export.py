"""`qcore export` against real nodes: what it writes loads into a new cluster and gives the same tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qcore.machines.entity.topology.topology_file import parse_topology
from qcore.processes import ProcessCluster
from tests.process.support.commands import run_here, run_qcore
from tests.process.support.wire_client import WireClient, string_schema, write_field

pytestmark = pytest.mark.process


def test_a_cluster_is_exported_as_a_topology(ready_cluster: ProcessCluster, tmp_path: Path) -> None:
    address = ready_cluster.wait_leader().address
    with WireClient(address) as client:
        client.perform("SetSchema", entity_schema=string_schema("Note", "Name", "Text"))
        made: Any = client.perform("CreateEntity", entity_type="Note", parent_id=None, name="a\r\n")
        text = {"String": "\r é 𝄞\u2028\x85\x7f\U000e0001"}
        client.perform("UpdateEntity", request=[write_field(made["response"], "Text", text)])
    file = tmp_path / "exported.yaml"
    assert run_qcore("export", str(file), endpoints=[address]).returncode == 0
    (entity,) = (
        one
        for one in parse_topology(file.read_text(encoding="utf-8"), "exported").entities
        if one["entity_type"] == "Note"
    )
    assert entity["name"] == "a\r\n"
    assert entity["attributes"] == {"Text": text}
    again = run_qcore("export", str(file), endpoints=[address])
    assert again.returncode == 2
    assert "--force" in again.stderr
    printed = run_qcore("export", endpoints=[address])
    assert printed.stdout == file.read_text(encoding="utf-8")
    as_json = run_qcore("export", "-o", "json", endpoints=[address])
    assert as_json.returncode == 0
    same = parse_topology(as_json.stdout, "exported")
    assert list(same.entities) == list(parse_topology(printed.stdout, "exported").entities)
    assert [one["entity_type"] for one in json.loads(as_json.stdout)["schemas"]]
    no_rows = run_here("export", "-o", "csv", "--endpoints", address)
    assert (no_rows.code, no_rows.stdout) == (2, "")
    assert "a topology has no rows" in no_rows.stderr
