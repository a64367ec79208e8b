"""The quotas of a real node: what a client sees, the metrics, and the free space of the disk."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from qcore.errors import QuotaExceeded
from qcore.machines.register import RegisterMachine
from qcore.node.application import TextApplication
from qcore.node.quotas import free_disk
from tests.node.test_node import Running, running


def put(key: str, size: int) -> str:
    return json.dumps({"op": "set", "key": key, "value": "v" * size})


async def metrics(node: Running) -> dict[str, Any]:
    found = await node.client.get_metrics(node.address)
    return dict(found["qcore"]["quotas"])


async def fill(node: Running) -> QuotaExceeded:
    """Write until a quota is used up."""
    for number in range(100):
        try:
            await node.client.execute(put(f"k{number}", 1000))
        except QuotaExceeded as error:
            return error
    raise AssertionError("no quota was reached")


def test_a_full_state_can_be_read_and_emptied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        machine = TextApplication(RegisterMachine())
        quota = {"state_quota_bytes": 20_000}
        async with running(tmp_path, machine, quotas=quota) as node:
            error = await fill(node)
            assert (error.quota, error.limit) == ("state", 20_000)
            found = await metrics(node)
            assert found["state"] == {"limit": 20_000, "use": 20_210, "refused": 1, "reached": True}
            node.node.quotas.check()
            assert "a quota is used up" in caplog.text
            page = node.node.exposition()
            assert 'qcore_quota_reached{quota="state"} 1' in page
            assert 'qcore_quota_refused_total{quota="state"} 1' in page
            assert await node.client.execute(json.dumps({"op": "get", "key": "k0"}))
            await node.client.execute(json.dumps({"op": "delete", "key": "k0"}))
            await node.client.execute(put("k0", 1000))
            assert not (await metrics(node))["log"]["reached"]

    asyncio.run(scenario())


def test_a_disk_with_little_space_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 10**12
    monkeypatch.setattr(free_disk, "free_bytes", lambda _directory: free)

    async def scenario() -> None:
        nonlocal free
        machine = TextApplication(RegisterMachine())
        async with running(tmp_path, machine, quotas={"min_free_disk_bytes": 1_000}) as node:
            await node.client.execute(put("k", 10))
            free = 999
            node.node.quotas.check()
            with pytest.raises(QuotaExceeded, match="only 999 bytes are free on the disk"):
                await node.client.execute(put("k", 10), timeout_s=0.3)
            await node.client.execute(json.dumps({"op": "delete", "key": "k"}))
            found = await metrics(node)
            assert found["disk"]["reached"]
            assert node.node.replica.core.short_of_space
            assert found["disk"]["use"] == 999
            free = 510
            node.node.quotas.check()
            with pytest.raises(QuotaExceeded, match=r"free some space \("):
                await node.client.execute(json.dumps({"op": "delete", "key": "k"}), timeout_s=0.3)
            assert await node.client.execute(json.dumps({"op": "get", "key": "k"}), read=True)
            with pytest.raises(QuotaExceeded):  # a session is an entry of the log, too
                await node.client.open_session()
            change = partial(node.node.quotas.write_rejection, "access", "")
            assert change() is None, "an administrator can still act"
            free = 250
            node.node.quotas.check()
            assert change() is not None
            free = 1_000
            node.node.quotas.check()
            await node.client.execute(put("k", 10))
            assert not node.node.replica.core.short_of_space

    asyncio.run(scenario())


def test_what_makes_room_does_not_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each needs an entry of the log first. Until the next check, that counts as four times its size."""
    free = 999
    monkeypatch.setattr(free_disk, "free_bytes", lambda _directory: free)
    disk = free_disk.FreeDisk(tmp_path, 1_000)
    disk.check()
    assert [disk.takes(100) for _ in range(2)] == [True, False]
    assert disk.takes(20)
    disk.check()
    assert disk.takes(100)
    free = 499
    disk.check()
    assert not disk.takes(0)


def test_a_snapshot_needs_its_size_of_free_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A quarter of what must stay free stays. Pages of the database that hold nothing count as free."""
    free = 10**12
    monkeypatch.setattr(free_disk, "free_bytes", lambda _directory: free)
    disk = free_disk.FreeDisk(tmp_path, 1_000)
    assert disk.fits_snapshot(10**15, 0), "nothing is known yet"
    free = 800
    disk.check()
    assert [disk.fits_snapshot(size, 0) for size in (500, 501)] == [True, False]
    (tmp_path / "log.db").write_bytes(bytes(5_000))
    assert disk.fits_snapshot(501, 1_000)
    assert not disk.fits_snapshot(501, 5_000)
    (tmp_path / "log.db").unlink()
    free = 10**12

    async def scenario() -> None:
        nonlocal free
        machine = TextApplication(RegisterMachine())
        quotas = {"min_free_disk_bytes": 100_000, "snapshot_entries": 20}
        async with running(tmp_path, machine, quotas=quotas) as node:
            await node.client.execute(json.dumps({"op": "set", "key": "k", "value": "v" * 200_000}))
            free = 150_000
            monkeypatch.setattr(free_disk, "reusable_bytes", lambda *_: 0)
            for _ in range(2):
                node.node.quotas.check()
            for number in range(30):
                await node.client.execute(put(f"k{number}", 10))
            assert node.node.replica.core.snapshot is None
            assert caplog.text.count("no space for one more snapshot") == 1
            free = 10**12
            node.node.quotas.check()
            await node.client.execute(put("k", 10))
            while node.node.replica.core.snapshot is None:
                await node.client.execute(put("k", 10))

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_a_rejection_names_the_time_to_retry(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, quotas={"connection_requests_per_s": 5}) as node:
            async with connect(f"ws://{node.address}") as raw:
                for number in range(30):
                    await raw.send(json.dumps({"GetMetrics": {"id": str(number)}}))
                answers = [json.loads(await raw.recv()) for _ in range(30)]
            refused = [answer["Error"] for answer in answers if "Error" in answer]
            assert 10 <= 30 - len(refused) <= 15
            detail = refused[0]["detail"]
            assert detail["code"] == "QuotaExceeded"
            assert detail["quota"] == "connection_requests"
            assert 1 <= detail["retry_after_ms"] <= 200

    asyncio.run(scenario())


def test_the_client_waits_for_its_rate(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = TextApplication(RegisterMachine())
        async with running(tmp_path, machine, quotas={"connection_requests_per_s": 20}) as node:
            await asyncio.gather(*(node.client.execute(put("k", 1)) for _ in range(60)))
            assert (await metrics(node))["connection_requests"]["refused"] > 0

    asyncio.run(scenario())
