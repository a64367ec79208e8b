"""One client in several event loops, one after the other."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest

from qcore.client.client import Client
from qcore.errors import ConfigError
from qcore.processes import ProcessCluster
from tests.process.conftest import assert_no_traceback, initialise

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a node with the register machine."""
    arguments = ("--machine", "register")
    with ProcessCluster(tmp_path_factory.mktemp("n"), size=1, arguments=arguments) as nodes:
        nodes.start()
        initialise(nodes)
        yield nodes.endpoints[0]
    assert_no_traceback(nodes)


READ = '{"op": "get", "key": "loops"}'


def write(value: str) -> str:
    return json.dumps({"op": "set", "key": "loops", "value": value})


async def read(client: Client) -> object:
    """The value of the register."""
    return json.loads(await client.execute(READ, read=True))["value"]


PROGRAM = """
import asyncio, sys
from qcore.client import Client

client = Client([sys.argv[1]])
for text in ("first", "second", "third"):
    command = '{"op": "set", "key": "loops", "value": "%s"}' % text
    asyncio.run(client.execute(command))
    print(asyncio.run(client.execute(command)))
"""


def test_several_runs_use_one_client_without_a_warning(address: str) -> None:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM, address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 3


def test_operations_that_wait_when_their_loop_ends_are_gone(address: str) -> None:
    client = Client([address])

    async def leave() -> None:
        for _ in range(300):
            asyncio.ensure_future(client.execute(write("left")))  # noqa: RUF006  # run's end cancels it
        await client.get_metrics()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            asyncio.run(leave())
            asyncio.run(client.execute(write("again")))
            assert asyncio.run(read(client)) in ("left", "again")
        asyncio.run(client.close())
        gc.collect()


def test_a_loop_that_was_closed_without_notice_is_forgotten(address: str) -> None:
    client = Client([address])
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.execute(write("abrupt")))
    loop.close()  # unlike asyncio.run, it does not close what is open
    assert asyncio.run(read(client)) == "abrupt"
    with pytest.warns(ResourceWarning):  # of asyncio, about what the program left open
        gc.collect()
    asyncio.run(client.close())


def test_loops_that_alternate_work(address: str) -> None:
    client = Client([address])
    loops = [asyncio.new_event_loop(), asyncio.new_event_loop()]
    for round_number in range(3):
        for loop in loops:
            loop.run_until_complete(client.execute(write(str(round_number))))
    loops[0].run_until_complete(client.close())
    for loop in loops:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_two_running_loops_need_two_clients(address: str) -> None:
    client = Client([address])
    ready, done = threading.Event(), threading.Event()

    async def hold() -> None:
        await client.get_metrics()
        ready.set()
        await asyncio.get_running_loop().run_in_executor(None, done.wait)

    thread = threading.Thread(target=asyncio.run, args=(hold(),))
    thread.start()
    try:
        assert ready.wait(20)
        for use in (client.get_metrics, client.close):
            with pytest.raises(ConfigError, match="make a client for each event loop"):
                asyncio.run(use())
    finally:
        done.set()
        thread.join()
    assert asyncio.run(client.get_metrics())["id"] == 1
    asyncio.run(client.close())
