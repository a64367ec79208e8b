"""`SyncClient`: every method of the client, from any thread, and an orderly end."""

from __future__ import annotations

import asyncio
import inspect
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qcore.client import Client, ReadField, SyncClient, WriteField
from qcore.client.synchronous.sync_client import SyncWatch
from qcore.errors import ConfigError, OutcomeUnknown, StoreError, TransportError
from tests.client.test_entity_methods import ITEM
from tests.node.test_node import running


@contextmanager
def node(directory: Path) -> Iterator[str]:
    """A node in another thread; gives its address."""
    ready, stop = threading.Event(), threading.Event()
    addresses: list[str] = []

    async def serve() -> None:
        async with running(directory) as world:
            addresses.append(world.address)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(20)
        yield addresses[0]
    finally:
        stop.set()
        thread.join()


def test_a_script_works_without_asyncio(tmp_path: Path) -> None:
    with node(tmp_path) as address, SyncClient([address]) as client:
        client.set_schema(ITEM)
        root = client.create_entity("Item", "root")
        assert client.write(root, "Count", 4).value == 4
        assert client.read(root, "Count") == 4
        assert list(client.children()) == [root.entity_id]
        assert next(client.entities("Item")) == root.entity_id
        with client.session() as session:
            client.write(root, "Count", 1, adjust_behavior="Add", session=session)
        assert client.update([WriteField(root, "On", True), ReadField(root, "Count")])[1].value == 5
        with pytest.raises(StoreError):
            client.read("Item$999", "Count")
        assert client.get_metrics()["state"] == "Leader"

        with client.watch(entity=root, field_type="Count") as changes:
            client.write(root, "Count", 6)
            client.write(root, "Count", 5)
            assert [next(changes).current_value for _ in range(2)] == [6, 5]
        assert list(changes) == []

        async def in_a_running_loop() -> object:
            return client.read(root, "Count")

        assert asyncio.run(in_a_running_loop()) == 5
        found: list[object] = []
        threads = [
            threading.Thread(target=lambda: found.append(client.read(root, "Count")))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [5] * 8


def public_methods(cls: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(cls, callable) if not name.startswith("_")}


def test_it_has_every_method_of_the_client() -> None:
    assert public_methods(SyncClient) - {"session", "run", "iterate"} == public_methods(Client)
    for name in public_methods(Client) - {"close"}:
        mine, theirs = getattr(SyncClient, name), getattr(Client, name)
        expected = inspect.signature(theirs)
        returned = expected.return_annotation
        if name == "watch":
            returned = SyncWatch
        elif isinstance(returned, str):
            returned = returned.replace("AsyncIterator", "Iterator")
        assert inspect.signature(mine) == expected.replace(return_annotation=returned)
        assert mine.__doc__ == theirs.__doc__


def test_after_close_an_operation_says_so() -> None:
    client = SyncClient(["127.0.0.1:1"], timeout_s=0.2)
    with pytest.raises(TransportError):
        client.get_metrics()
    client.close()
    client.close()
    with pytest.raises(ConfigError, match="this SyncClient is closed: make another one"):
        client.get_metrics()
    assert not [thread for thread in threading.enumerate() if thread.name == "qcore-client"]


def test_close_ends_an_operation_in_another_thread() -> None:
    client = SyncClient(["127.0.0.1:1"], timeout_s=60)
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            client.get_metrics()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    client.close()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(outcome[0], ConfigError | TransportError | OutcomeUnknown)


def test_ctrl_c_ends_an_operation() -> None:
    program = (
        "from qcore.client import SyncClient\n"
        "client = SyncClient(['127.0.0.1:1'], timeout_s=60)\n"
        "print('ready', flush=True)\n"
        "try:\n"
        "    client.get_metrics()\n"
        "except KeyboardInterrupt:\n"
        "    client.close()\n"
        "    print('interrupted')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "interrupted\n"
    assert process.returncode == 0


def test_close_waits_for_what_ctrl_c_has_ended() -> None:
    steps: list[str] = []

    async def operation() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0.5)
            steps.append("cleaned up")

    with pytest.raises(KeyboardInterrupt), SyncClient(["127.0.0.1:1"]) as client:
        client.run(operation())
    assert steps == ["cleaned up"]


def test_ctrl_c_undoes_a_result_without_a_caller() -> None:
    steps: list[str] = []

    async def operation() -> str:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return "a lock"

    async def undo(result: str) -> None:
        await asyncio.sleep(0.2)
        steps.append(f"undone: {result}")

    with pytest.raises(KeyboardInterrupt), SyncClient(["127.0.0.1:1"]) as client:
        client.run(operation(), undo=undo)
    assert steps == ["undone: a lock"]


def test_ctrl_c_does_not_stop_a_cleanup() -> None:
    steps: list[str] = []

    async def operation() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        await asyncio.sleep(0.3)
        steps.append("released")

    with pytest.raises(KeyboardInterrupt), SyncClient(["127.0.0.1:1"]) as client:
        client.run(operation(), is_cleanup=True)
    assert steps == ["released"]


def test_a_program_that_forgets_close_ends() -> None:
    program = "from qcore.client import SyncClient; SyncClient(['127.0.0.1:1'])"
    done = subprocess.run(
        [sys.executable, "-c", program], timeout=20, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), json.dumps(done.stderr)
