"""Scheduled backups of a node within a program: when one is due, and what a failure does."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.core.version import ClusterVersion
from qcore.errors import ConfigError
from qcore.node import NodeConfig
from qcore.node.backups import backup_task
from qcore.node.node import Node
from qcore.storage.files.snapshot_file import verify
from tests.node.embedded.embedded_nodes import add, config_of
from tests.transport.support.endpoints import async_test, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_task, "CHECK_INTERVAL_S", 0.02)


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.snapshot"))


@async_test
async def test_backup_is_due_immediately_and_not_again_after_a_restart(tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    directory.mkdir()
    config = config_of(1, tmp_path, backup_dir=directory)
    async with Node(config) as node:
        await node.client.init()
        await add(node.client, "k")
        await until(lambda: bool(files(directory)), "a backup")
    (path,) = files(directory)
    header = verify(path)
    assert header.cluster_version == ClusterVersion(5, "register", 1)
    async with Node(config) as node:
        await add(node.client, "k")
        await until(lambda: bool(_figures(node)["last_at"]), "the newest backup")
        figures = _figures(node)
        assert (figures["taken"], figures["failures"], figures["problem"]) == (0, 0, None)
        assert figures["last_index"] == header.last_included_index
    assert files(directory) == [path]


@async_test
async def test_failure_is_shown_and_the_node_serves(tmp_path: Path) -> None:
    config = config_of(1, tmp_path, backup_dir=tmp_path / "missing")
    async with Node(config) as node:
        await node.client.init()
        await until(lambda: _figures(node)["failures"] == 1, "a failure")
        assert "missing" in str(_figures(node)["problem"])
        assert "qcore_backup_failures_total 1.0" in node._running.parts.exposition()
        assert await add(node.client, "k") == '{"ok":true,"value":1}'


def _figures(node: Node) -> dict[str, object]:
    backups = node._running.parts.metrics_object()["qcore"]["backups"]  # type: ignore[index, call-overload]  # JSON
    assert isinstance(backups, dict)
    return dict(backups)


def test_settings_have_bounds(tmp_path: Path) -> None:
    for wrong in ({"backup_keep": 0}, {"backup_interval_s": 0}):
        with pytest.raises(ConfigError, match="at least 1"):
            NodeConfig.of(1, tmp_path, **wrong)
