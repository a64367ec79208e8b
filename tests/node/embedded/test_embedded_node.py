"""`Node` in the event loop of a program: its life, its failures, and what it leaves alone."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

import qcore
from qcore.core.effects import AppendLog, Write
from qcore.errors import DataDirLocked, StorageError, TransportError
from qcore.node import Address
from qcore.node.node import Node, _reachable
from qcore.node.replica_changes import ReplicaChanges
from qcore.node.runtime.shutdown import drain_writer
from qcore.runtime.clock import now_us
from qcore.runtime.real import AsyncioRuntime
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from qcore.trace import parse_trace
from tests.node.embedded.embedded_nodes import (
    PATIENT_MS,
    FailingStorage,
    add,
    config_of,
    leader_of,
)
from tests.transport.support.endpoints import async_test, until


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@async_test
async def test_a_node_leads_calls_back_and_starts_again(tmp_path: Path) -> None:
    seen: list[str] = []

    async def work(node: Node) -> None:
        seen.append(f"{node.is_leader} {node.term} {await add(node.client, 'runs')}")
        await asyncio.Event().wait()

    def ended(node: Node) -> None:
        seen.append(f"ended {node.is_leader}")

    config = config_of(1, tmp_path)
    async with Node(config, on_leader=work, on_follower=ended) as node:
        assert (node.node_id, node.leader, node.is_leader, node.has_quorum) == (
            1,
            None,
            False,
            False,
        )
        assert node.address == f"127.0.0.1:{node.address.rpartition(':')[2]}"
        await node.client.init()
        await until(lambda: seen, "on_leader")
        assert seen == [f'True {node.term} {{"ok":true,"value":1}}']
        assert (node.leader, node.is_leader, node.has_quorum) == (1, True, True)
        assert node.metrics()["state"] == "Leader"
    assert seen[1:] == ["ended False"]
    assert not node.is_leader
    assert not node.has_quorum
    assert await node.wait_failed() is None
    await node.stop()

    async with Node(config, on_leader=work) as again:
        await until(lambda: len(seen) == 3, "on_leader")
        # A machine that stalls may have another term begin, and each calls back once.
        is_leader, term, answer = seen[2].split(" ", 2)
        assert (is_leader, int(term)) == ("True", again.term)
        assert json.loads(answer)["value"] >= 2


@async_test
async def test_on_leader_waits_for_the_first_commit_of_the_term(tmp_path: Path) -> None:
    holds, go_on = threading.Event(), threading.Event()

    class HoldingStorage(SqliteStorage):
        """Its writes of entries wait for `go_on` once `holds` is set."""

        def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
            if holds.is_set() and any(isinstance(each, AppendLog) for each in writes):
                go_on.wait()
            super().write(writes, commit)

    async with Node(config_of(1, tmp_path)) as node:
        await node.client.init()
        await leader_of([node])
    called: list[bool] = []
    holds.set()
    async with Node(
        config_of(1, tmp_path, PATIENT_MS, heartbeat_ms=5),
        on_leader=lambda node: called.append(node.is_leader),
        open_storage=HoldingStorage.open,
    ) as node:
        try:
            await until(lambda: node.leader == 1, "an election")
            await asyncio.sleep(0.05)  # several heartbeats
            assert not called
            assert not node.is_leader
        finally:
            go_on.set()
        await until(lambda: called == [True], "on_leader")


@async_test
async def test_three_nodes_in_one_process_pass_on_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working: list[int] = []

    async def work(node: Node) -> None:
        working.append(node.node_id)
        try:
            await asyncio.Event().wait()
        finally:
            working.remove(node.node_id)

    nodes = [Node(config_of(number, tmp_path, PATIENT_MS), on_leader=work) for number in (1, 2, 3)]
    for node in nodes:
        await node.start()
    members = [(node.node_id, node.address) for node in nodes]
    await asyncio.gather(*(node.client.init(members, token="blue") for node in nodes))
    first = await leader_of(nodes)
    await until(lambda: working == [first.node_id], "the work of the first leader")
    await add(nodes[0].client, "k")
    await until(lambda: all(node.has_quorum for node in nodes), "a quorum")
    assert {node.leader for node in nodes} == {first.node_id}
    with monkeypatch.context() as later:
        # As after a pause of the process, in which nothing was heard.
        later.setattr(AsyncioRuntime, "monotonic_us", lambda _runtime: now_us() + 10_000_000)
        assert not any(node.has_quorum for node in nodes)

    await first.stop()
    rest = [node for node in nodes if node is not first]
    second = await leader_of(rest)
    await until(lambda: working == [second.node_id], "the work of the second leader")
    (third,) = [node for node in rest if node is not second]
    assert (
        await third.client.execute('{"op":"get","key":"k"}', read=True) == '{"ok":true,"value":1}'
    )

    await third.stop()
    await until(lambda: not second.has_quorum, "the loss of the quorum")
    await until(lambda: not working, "the end of the work")
    assert not second.is_leader
    await second.stop()


def process_state() -> dict[str, object]:
    """What an embedded node must leave alone."""
    return {
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "output": (sys.stdout, sys.stderr, sys.excepthook, threading.excepthook),
        "logging": {
            name: (logging.getLogger(name).handlers[:], logging.getLogger(name).level)
            for name in ("", "qcore", "qcore.node", "websockets", "py.warnings")
        },
        "warnings": warnings.showwarning,
        "interval": sys.getswitchinterval(),
        "collector": (gc.get_threshold(), gc.callbacks[:], gc.get_freeze_count(), gc.isenabled()),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    }


@async_test
async def test_the_process_is_left_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, limit[1]))
    try:
        with caplog.at_level(logging.INFO, "qcore.node"):
            gc.unfreeze()  # the tests freeze what they collect, and the number falls when such an object ends
            before = process_state()
            async with Node(config_of(1, tmp_path)) as node:
                await node.client.init()
                await add(node.client, "k")
                assert process_state() == before
            assert process_state() == before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert capfd.readouterr() == ("", "")
    lines = [record.getMessage() for record in caplog.records if record.name == "qcore.node"]
    assert any(line.startswith("node=1 term=0 role=starting listening addr=127") for line in lines)
    assert any("role=leader role changed leader=1" in line for line in lines)
    assert any("connections are limited" in line and "allowed=512" in line for line in lines)


@async_test
async def test_lines_that_repeat_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "qcore.node"):
        async with Node(config_of(1, tmp_path)) as node:
            for _ in range(50):
                node._log.warning("peer rejected", why="a\nb")
    texts = [
        record.getMessage() for record in caplog.records if "peer rejected" in record.getMessage()
    ]
    assert texts[0] == 'node=1 term=0 role=starting peer rejected why="a\\nb"'
    assert len(texts) == 21
    assert texts[-1].endswith('lines left out like="peer rejected" number=30')


@async_test
async def test_a_locked_data_directory_is_an_error(tmp_path: Path) -> None:
    files = open_files()
    async with Node(config_of(1, tmp_path)) as node:
        await node.client.init()
        for _ in range(2):
            with pytest.raises(DataDirLocked):
                await Node(config_of(1, tmp_path)).start()
        await add(node.client, "k")
    assert open_files() == files


@async_test
async def test_a_start_that_fails_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Node(config_of(9, tmp_path)) as other:
        threads = {thread.name for thread in threading.enumerate()}
        files = open_files()
        taken = Address.parse(other.address)
        with pytest.raises(TransportError, match="choose another port"):
            await Node(config_of(1, tmp_path, ws_addr=taken, trace=tmp_path / "trace")).start()
        await until(lambda: open_files() == files, "the files to be closed")

        def reject(_changes: ReplicaChanges, _membership: object) -> None:
            raise StorageError("the data belongs to another cluster")

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free = Address("127.0.0.1", probe.getsockname()[1])
        with monkeypatch.context() as patch:
            patch.setattr(ReplicaChanges, "use_membership", reject)
            node = Node(config_of(1, tmp_path, ws_addr=free))
            with pytest.raises(StorageError, match="another cluster"):
                await node.start()
        await node.stop()
        assert open_files() == files
        new = {thread.name for thread in threading.enumerate()} - threads
        assert not [name for name in new if name.startswith("qcore")]
    async with Node(config_of(1, tmp_path, ws_addr=free)) as again:
        assert again.address == str(free)


@async_test
async def test_a_node_starts_once_and_not_from_a_callback(tmp_path: Path) -> None:
    node = Node(config_of(1, tmp_path))
    await node.stop()
    with pytest.raises(RuntimeError, match="not started"):
        _ = node.client
    async with node:
        with pytest.raises(RuntimeError, match="another Node"):
            await node.start()
    with pytest.raises(RuntimeError, match="another Node"):
        await node.start()


@async_test
async def test_a_callback_cannot_stop_its_node(tmp_path: Path) -> None:
    errors: list[Exception] = []

    async def stop(node: Node) -> None:
        try:
            await node.stop()
        except RuntimeError as error:
            errors.append(error)

    async with Node(config_of(1, tmp_path), on_leader=stop, on_follower=stop) as node:
        await node.client.init()
        await until(lambda: errors, "the error")
    assert len(errors) == 2
    assert "set an event" in str(errors[0])


@async_test
async def test_a_failure_reaches_the_program(tmp_path: Path) -> None:
    calls: list[str] = []

    async def work(node: Node) -> None:
        calls.append("lead")
        try:
            await asyncio.Event().wait()
        finally:
            calls.append("end")

    async def run(*, raises: bool) -> None:
        storages: list[FailingStorage] = []

        def open_storage(folder: Path, node_id: int) -> FailingStorage:
            storages.append(FailingStorage.open(folder, node_id))
            return storages[0]

        async with Node(
            config_of(1, tmp_path),
            on_leader=work,
            on_follower=lambda node: calls.append("follow"),
            open_storage=open_storage,
        ) as node:
            if not calls:
                await node.client.init()
            await leader_of([node])
            await until(lambda: calls[-1:] == ["lead"], "on_leader")
            waiting = asyncio.ensure_future(node.wait_failed())
            storages[0].failure = StorageError("EIO on log.db")
            lost = asyncio.ensure_future(add(node.client, "k"))
            assert str(await waiting) == "EIO on log.db"
            assert not node.is_leader
            assert not node.has_quorum
            await until(lambda: calls[-1] == "follow", "on_follower")
            lost.cancel()
            if raises:
                raise ZeroDivisionError("the program's error")

    with pytest.raises(StorageError, match="EIO"):
        await run(raises=False)
    with pytest.raises(ZeroDivisionError):
        await run(raises=True)
    assert calls == ["lead", "end", "follow"] * 2


@async_test
async def test_a_disk_that_hangs_is_an_error_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "qcore.node.replica_node.drain_writer", partial(drain_writer, timeout_s=0.05)
    )
    hangs, go_on = threading.Event(), threading.Event()

    class HangingStorage(FailingStorage):
        def write(self, *arguments: object) -> None:
            if hangs.is_set():
                go_on.wait()

    config = config_of(1, tmp_path, shutdown_grace_ms=50)
    node = Node(config, open_storage=HangingStorage.open)
    await node.start()
    hangs.set()
    lost = asyncio.ensure_future(node.client.init())
    await asyncio.sleep(0.05)
    try:
        with pytest.raises(StorageError, match="end the process"):
            await node.stop()
        with pytest.raises(DataDirLocked):
            await Node(config_of(1, tmp_path)).start()
    finally:
        go_on.set()
        lost.cancel()
        await asyncio.gather(lost, return_exceptions=True)


@async_test
async def test_a_cancelled_program_still_closes_its_node(tmp_path: Path) -> None:
    up, ended = asyncio.Event(), asyncio.Event()
    seen: list[str] = []

    async def slow_end(node: Node) -> None:
        try:
            await asyncio.sleep(0.05)
            seen.append(await add(node.client, "ends"))
        finally:
            ended.set()

    async def program() -> None:
        async with Node(config_of(1, tmp_path), on_follower=slow_end) as node:
            await node.client.init()
            await leader_of([node])
            up.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(program())
    await up.wait()
    task.cancel()
    await asyncio.sleep(0.01)
    task.cancel()  # again, while the node stops
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ended.is_set()

    await ended.wait()
    assert seen == ['{"ok":true,"value":1}'], "the node did not wait for its callback"
    while True:
        again = Node(config_of(1, tmp_path))
        try:
            await again.start()
            break
        except DataDirLocked:
            await asyncio.sleep(0.01)
    await again.stop()


@async_test
async def test_a_node_on_all_addresses_reaches_itself(tmp_path: Path) -> None:
    assert str(_reachable("[::]:80")) == "[::1]:80"
    assert str(_reachable("10.0.0.9:80")) == "10.0.0.9:80"
    config = config_of(1, tmp_path, ws_addr=Address("0.0.0.0", 0), trace=tmp_path / "trace")
    async with qcore.Node(config) as node:
        members = [(1, node.address.replace("0.0.0.0", "127.0.0.1"))]
        await node.client.init(members)
        assert await add(node.client, "k") == '{"ok":true,"value":1}'
    lines = (tmp_path / "trace").read_text().splitlines()
    assert [record.kind for record in parse_trace(lines)][-1] == "down"
