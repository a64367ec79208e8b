"""Snapshots for clients: taken by a node in this process, read over sockets in chunks, kept while they are read."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from qcore.client import snapshot_download
from qcore.client.endpoints import Endpoints
from qcore.client.errors import decode_error
from qcore.errors import (
    ConfigError,
    DeadlineExceeded,
    DiskFull,
    Overloaded,
    QcoreError,
    Refused,
    RemoteProtocolError,
    SnapshotFileError,
    SnapshotGone,
    TransportError,
)
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import ApplyContext, StateMachine
from qcore.machines.register import RegisterMachine
from qcore.node.api.snapshot_requests import DEFAULT_TIMEOUT_MS, IDLE_S, MAX_PINS, READ_CHARS
from qcore.node.application import Application, EntityApplication, TextApplication
from qcore.replica.access.access_table import AccessTable
from qcore.replica.events import KnownDiverged
from qcore.replica.sessions.session_table import SessionTable
from qcore.replica.snapshot_builder import restore_snapshot
from qcore.runtime.real import REAL
from qcore.storage.files.snapshot_file import verify
from qcore.transport.address import Address
from tests.checkout import DOCS
from tests.node.test_node import PATIENT_MS, Running, eventually, running
from tests.process.support.wire_client import string_schema

Json = dict[str, Any]


async def ask(world: Running, name: str, **fields: object) -> Json:
    """Send one request once; returns its `Ok`, or raises its `Err`."""
    reply = await world.client.request(world.address, name, fields)
    response = reply["response"]
    if "Err" in response:
        raise decode_error(response["Err"], reply.get("detail"))
    value: Json = response["Ok"]
    return value


async def read_on(world: Running, info: Json, text: str = "") -> str:
    """Read the rest of a snapshot's text, which begins with `text`; returns all of it."""
    while len(text) < info["characters"]:
        chunk = await ask(
            world,
            "ReadSnapshot",
            last_included_index=info["last_included_index"],
            offset=len(text),
        )
        assert chunk["offset"] == len(text)
        assert 0 < len(chunk["data"]) <= READ_CHARS
        text += chunk["data"]
    return text


def is_whole(info: Json, text: str) -> bool:
    data = text.encode()
    return (len(data), hashlib.sha256(data).hexdigest()) == (info["size"], info["sha256"])


def restored(text: str, machine: StateMachine) -> str:
    """Restore a snapshot's text into the state machine; returns the state hash."""
    for _ in restore_snapshot(text, machine, SessionTable(), AccessTable()):
        pass
    return machine.state_hash()


async def put(world: Running, key: str, value: str) -> None:
    await world.client.execute(json.dumps({"op": "set", "key": key, "value": value}))


class AwkwardMachine:
    """A custom state machine whose text is as bad as possible for JSON and for slicing."""

    name = "awkwardmachine"
    versions = (1, 1)

    def __init__(self) -> None:
        self.parts: list[str] = []

    def apply(self, command: str, context: ApplyContext) -> str:
        self.parts.append(command)
        return str(len(self.parts))

    def query(self, query: str) -> str:
        return str(len(self.parts))

    def snapshot(self) -> Iterable[str]:
        return [*self.parts]

    def restore(self, chunks: Iterable[str]) -> None:
        self.parts = ["".join(chunks)]

    def state_hash(self) -> str:
        return hashlib.sha256("".join(self.parts).encode()).hexdigest()


AWKWARD = '\x00\x1f"\\\u2028é𝄞\n' * 20_000


async def fill_entities(world: Running) -> None:
    await world.client.set_schema(string_schema("Item", "Name", "Text"))
    for number in range(5):
        item = await world.client.create_entity("Item", f"item {number}")
        await world.client.write(item, "Text", {"String": f'{number}"' * 20_000})


async def fill_kv(world: Running) -> None:
    for number in range(5):
        await put(world, f"key{number}", f'{number}"é' * 20_000)


async def fill_awkward(world: Running) -> None:
    for _ in range(3):
        await world.client.execute(AWKWARD)


@pytest.mark.parametrize(
    ("application", "fill", "fresh"),
    [
        (EntityApplication(), fill_entities, EntityStore()),
        (TextApplication(RegisterMachine()), fill_kv, RegisterMachine()),
        (TextApplication(AwkwardMachine()), fill_awkward, AwkwardMachine()),
    ],
    ids=["entities", "register", "awkward"],
)
def test_a_downloaded_snapshot_restores_the_state(
    tmp_path: Path, application: Application, fill: Any, fresh: StateMachine
) -> None:
    async def scenario() -> None:
        async with running(tmp_path, application) as world:
            await fill(world)
            info = await ask(world, "SaveSnapshot")
            text = await read_on(world, info)
            assert is_whole(info, text)
            assert info["characters"] > READ_CHARS, "in several chunks"
            metrics = await world.client.get_metrics()
            assert metrics["qcore"]["applied_index"] == info["last_included_index"]
            assert restored(text, fresh) == application.machine.state_hash()
            assert info["membership"]["addresses"] == [[1, world.address]]

            header = await world.client.save_snapshot(tmp_path / "copy")
            assert verify(tmp_path / "copy") == header
            assert (tmp_path / "copy").read_bytes().partition(b"\n")[2] == text.encode()

    asyncio.run(scenario())


def test_a_snapshot_that_is_being_read_outlives_newer_ones(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, TextApplication(RegisterMachine())) as world:
            await put(world, "long", "x" * 3 * READ_CHARS)
            first = await ask(world, "SaveSnapshot")
            index = first["last_included_index"]
            begun = (await ask(world, "ReadSnapshot", last_included_index=index, offset=0))["data"]
            await put(world, "long", "other")
            second = await ask(world, "SaveSnapshot")
            assert second["last_included_index"] > index
            status = await world.client.get_metrics()
            assert status["snapshot"] is not None
            assert status["snapshot"]["index"] == second["last_included_index"]
            assert is_whole(first, await read_on(world, first, begun))
            assert is_whole(second, await read_on(world, second))

    asyncio.run(scenario())


def test_a_snapshot_of_a_diverged_node_is_read_no_further(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, TextApplication(RegisterMachine())) as world:
            await put(world, "long", "x" * 3 * READ_CHARS)
            first = await ask(world, "SaveSnapshot")
            index = first["last_included_index"]
            begun = (await ask(world, "ReadSnapshot", last_included_index=index, offset=0))["data"]
            world.node._driver.inbox.add_event(KnownDiverged(index))

            async def contained() -> bool:
                return "member reinstall 1" in str(world.node.unready_reason())

            await eventually(contained)
            with pytest.raises(Refused, match="member reinstall 1"):
                await ask(world, "SaveSnapshot", stale=True)
            with pytest.raises(SnapshotGone):
                await read_on(world, first, begun)

    asyncio.run(scenario())


def test_a_fully_read_snapshot_makes_room_for_a_new_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, TextApplication(RegisterMachine())) as world:
            taken: list[Json] = []
            for number in range(MAX_PINS):
                await put(world, "n", str(number))
                taken.append(await ask(world, "SaveSnapshot"))
            await put(world, "n", "one too many")
            with pytest.raises(Overloaded, match="are being read here") as crowded:
                await ask(world, "SaveSnapshot")
            assert crowded.value.retry_after_ms >= 1
            assert is_whole(taken[1], await read_on(world, taken[1]))
            last = await ask(world, "SaveSnapshot")
            with pytest.raises(SnapshotGone, match="take it again"):
                await read_on(world, taken[1])
            for info in (taken[0], taken[2], taken[3], last):
                assert is_whole(info, await read_on(world, info))

    asyncio.run(scenario())


def test_one_snapshot_serves_many_readers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, TextApplication(RegisterMachine())) as world:
            await put(world, "n", "x" * READ_CHARS)
            infos = await asyncio.gather(*(ask(world, "SaveSnapshot") for _ in range(10)))
            assert len({info["last_included_index"] for info in infos}) == 1
            texts = await asyncio.gather(*(read_on(world, info) for info in infos))
            assert all(map(is_whole, infos, texts))

    asyncio.run(scenario())


def test_an_unread_snapshot_is_released(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, TextApplication(RegisterMachine())) as world:
            # A minute is too long for a test, and the node has no setting for it.
            world.node._requests._admin_requests._snapshots._idle_s = 0.2
            await put(world, "n", "1")
            info = await ask(world, "SaveSnapshot")
            index = info["last_included_index"]
            snapshot_requests = world.node._requests._admin_requests._snapshots
            assert list(snapshot_requests._pins) == [index]

            async def released() -> bool:
                return not snapshot_requests._pins

            await eventually(released)
            with pytest.raises(SnapshotGone, match=f"through entry {index}"):
                await read_on(world, info)
            again = await ask(world, "SaveSnapshot")
            assert is_whole(again, await read_on(world, again))

    asyncio.run(scenario())


def test_invalid_snapshot_requests_are_rejected_by_name(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, TextApplication(RegisterMachine())) as world:
            info = await ask(world, "SaveSnapshot")
            index, end = info["last_included_index"], info["characters"]
            at_end = await ask(world, "ReadSnapshot", last_included_index=index, offset=end)
            assert at_end == {"offset": end, "data": ""}
            with pytest.raises(Refused, match="beyond the snapshot's end"):
                await ask(world, "ReadSnapshot", last_included_index=index, offset=end + 1)
            with pytest.raises(SnapshotGone):
                await ask(world, "ReadSnapshot", last_included_index=index + 1, offset=0)
            with pytest.raises(RemoteProtocolError, match="offset"):
                await ask(world, "ReadSnapshot", last_included_index=index, offset=-1)

    asyncio.run(scenario())


def test_a_node_without_state_or_disk_space_takes_no_snapshot(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = TextApplication(RegisterMachine())
        async with running(tmp_path, machine, begin=False, election_timeout_ms=PATIENT_MS) as world:
            with pytest.raises(Refused, match="no state yet"):
                await ask(world, "SaveSnapshot", stale=True)
            await world.client.init()
            await put(world, "n", "1")
            world.disk.failure = DiskFull("no space")
            stuck = asyncio.ensure_future(put(world, "n", "2"))

            async def disk_full() -> bool:
                return bool((await world.client.get_metrics())["qcore"]["disk_full"])

            await eventually(disk_full)
            with pytest.raises(DiskFull):
                await ask(world, "SaveSnapshot")
            world.disk.failure = None
            await stuck
            info = await ask(world, "SaveSnapshot")
            assert is_whole(info, await read_on(world, info))

    asyncio.run(scenario())


def test_the_documented_limits_are_those_of_the_code() -> None:
    document = " ".join((DOCS / "reference" / "wire.md").read_text().split())
    assert f"up to {READ_CHARS:,} at a time" in document
    assert f"`timeout_ms` is optional ({DEFAULT_TIMEOUT_MS:,})" in document
    assert f"until {IDLE_S:g} s after its last use, and at most {MAX_PINS} at a time" in document


# -- the client: nodes that go away, or send nonsense ---------------------------------------------


class ScriptedNodes:
    """Two nodes with scripted answers, for `snapshot_download.save_snapshot`."""

    def __init__(self, text: str = "[]\nstate") -> None:
        self.text = text
        self.requests: list[tuple[str, str]] = []
        self.failures: list[Exception] = []
        self.info: Json = {}

    async def request(self, endpoint: Address, name: str, fields: Any, timeout_s: float) -> Json:
        self.requests.append((str(endpoint), name))
        assert timeout_s > 0
        if name == "SaveSnapshot":
            data = self.text.encode()
            info = {
                "last_included_index": 5,
                "last_included_term": 1,
                "last_included_time_us": 9,
                "membership": {"voters": [1], "cluster_id": "c"},
                "characters": len(self.text),
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
            return {"response": {"Ok": {**info, **self.info}}}
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, TransportError):
                raise failure
            assert isinstance(failure, QcoreError)
            return {"response": {"Err": str(failure)}, "detail": failure.detail()}
        offset = fields["offset"]
        return {"response": {"Ok": {"offset": offset, "data": self.text[offset : offset + 3]}}}

    def save(self, path: Path, timeout_s: float = 20.0) -> None:
        asyncio.run(
            snapshot_download.save_snapshot(
                self.request,
                Endpoints(["a:1", "b:1"], Random(), runtime=REAL),
                path,
                stale=False,
                force=False,
                timeout_s=timeout_s,
                runtime=REAL,
            )
        )


def test_a_lost_chunk_is_requested_again(tmp_path: Path) -> None:
    nodes = ScriptedNodes()
    nodes.failures = [TransportError("broken")]
    nodes.save(tmp_path / "copy")
    assert [name for _, name in nodes.requests].count("SaveSnapshot") == 1
    assert (tmp_path / "copy").read_text().endswith("\n" + nodes.text)


@pytest.mark.parametrize(
    "failures",
    [
        [TransportError("broken"), TransportError("still broken")],
        [SnapshotGone("the node was restarted")],
    ],
)
def test_a_download_restarts_at_the_next_node(tmp_path: Path, failures: list[Exception]) -> None:
    nodes = ScriptedNodes()
    nodes.failures = failures
    nodes.save(tmp_path / "copy")
    takers = [endpoint for endpoint, name in nodes.requests if name == "SaveSnapshot"]
    assert takers == ["a:1", "b:1"]
    assert verify(tmp_path / "copy").last_included_index == 5
    assert [entry.name for entry in tmp_path.iterdir()] == ["copy"]


def test_a_download_with_a_wrong_checksum_is_discarded(tmp_path: Path) -> None:
    nodes = ScriptedNodes()
    nodes.info = {"sha256": "0" * 64}
    with pytest.raises(SnapshotFileError, match="checksum that was promised"):
        nodes.save(tmp_path / "copy")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "info", [{"size": "much"}, {"membership": None}, {"characters": None}, {"sha256": 1}]
)
def test_an_invalid_snapshot_description_is_rejected(tmp_path: Path, info: Json) -> None:
    nodes = ScriptedNodes()
    nodes.info = info
    with pytest.raises(RemoteProtocolError, match="a:1 describes its snapshot"):
        nodes.save(tmp_path / "copy")
    assert not list(tmp_path.iterdir())


def test_a_download_that_stays_incomplete_times_out(tmp_path: Path) -> None:
    nodes = ScriptedNodes()
    nodes.info = {"characters": 100}
    # The time may also end within the last attempt.
    with pytest.raises(
        (SnapshotGone, DeadlineExceeded), match=r"8 of 100 characters|sent \d characters"
    ):
        nodes.save(tmp_path / "copy", timeout_s=0.5)
    assert not list(tmp_path.iterdir())


def test_an_existing_target_is_rejected_before_any_request(tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("precious")
    nodes = ScriptedNodes()
    with pytest.raises(ConfigError, match="exists"):
        nodes.save(tmp_path / "copy")
    assert nodes.requests == []
    assert (tmp_path / "copy").read_text() == "precious"
