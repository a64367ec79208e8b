"""Views whose cluster is replaced by one from a backup: they show what the backup has, and say so."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from qcore.kv import KeyValue
from qcore.recipes import ConfigWatch, ServiceRegistry
from qcore.testing import LocalCluster
from tests.process.support.commands import run_qcore
from tests.transport.support.endpoints import async_test

pytestmark = pytest.mark.process


def restore(cluster: LocalCluster, where: Path, backup: Path) -> None:
    """Replace the only node by one of a new cluster, which begins with a backup."""
    cluster.kill(1)
    data_dir = where / "node1"
    shutil.rmtree(data_dir)
    members = f"1={cluster.endpoints[0]}"
    done = run_qcore(
        *("snapshot", "restore", str(backup), "--id", "1", "--data-dir", str(data_dir)),
        *("--members", members),
    )
    assert done.returncode == 0, done.stderr
    cluster.restart(1)


@async_test
async def test_views_find_out_that_a_backup_was_restored(tmp_path: Path) -> None:
    where, backup = tmp_path / "cluster", tmp_path / "backup.snapshot"
    with LocalCluster(1, machine="kv", directory=where) as cluster:
        async with cluster.client() as client:
            kv = KeyValue(client)
            registry = ServiceRegistry(kv)
            await kv.put("n", "1")
            await kv.put("m", "7")
            await kv.put("service/web//old", '{"address": "a:1"}')
            await client.save_snapshot(backup)
            async with (
                ConfigWatch(kv, "n", int) as config,
                ConfigWatch(kv, "m", int) as unchanged,
                registry.watch("web") as view,
            ):
                changes, others = config.changes(), unchanged.changes()
                await kv.put("n", "2")
                await kv.put("service/web//new", '{"address": "b:2"}')
                await kv.delete("service/web//old")
                assert await config.sync() == 2
                assert [each.name for each in await view.sync()] == ["new"]
                instances = view.changes()
                before = config.revision
                assert before < view.revision
                # Nothing is written after that, so what the views show is in the future of the new cluster.
                restore(cluster, where, backup)
                async with asyncio.timeout(60):
                    instances_now, *numbers = await asyncio.gather(
                        view.sync(), config.sync(), unchanged.sync()
                    )
                    assert [each.name for each in instances_now] == ["old"]
                    assert numbers == [1, 7]
                    put, undone = await anext(changes), await anext(changes)
                    first, second = await anext(instances), await anext(instances)
                assert (put.value, put.skipped) == (2, False)
                assert (undone.value, undone.previous, undone.skipped) == (1, 2, True)
                assert config.revision >= undone.revision >= before
                assert [each.name for each in first.added] == ["new"]
                assert [each.name for each in second.added] == ["old"]
                assert [each.name for each in second.removed] == ["new"]
                assert second.skipped
                written = await config.set(3)
                change = await anext(changes)
                assert (change.value, change.previous, change.skipped) == (3, 1, False)
                assert change.revision == written > 10**12
                await unchanged.set(8)
                change = await anext(others)
                assert (change.previous, change.value, change.skipped) == (7, 8, False)


@async_test
async def test_a_late_view_finds_out_about_a_backup(tmp_path: Path) -> None:
    where, backup = tmp_path / "cluster", tmp_path / "backup.snapshot"
    with LocalCluster(1, machine="kv", directory=where) as cluster:
        async with cluster.client() as client:
            kv = KeyValue(client)
            await kv.put("n", "1")
            await client.save_snapshot(backup)
            async with ConfigWatch(kv, "n", int) as config:
                changes = config.changes()
                await kv.put("n", "2")
                assert await config.sync() == 2
                # The view cannot run meanwhile, so it finds revisions that are larger than the one that it shows.
                restore(cluster, where, backup)
                with cluster.sync_client() as other:
                    other.run(KeyValue(other.asynchronous).put("other", "x"))
                async with asyncio.timeout(60):
                    assert [(await anext(changes)).value for _ in range(2)] == [2, 1]
                assert config.value == 1
