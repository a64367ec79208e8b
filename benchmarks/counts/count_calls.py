"""The number of function calls that a message costs a node, counted with `sys.setprofile`. No timing is involved.

    python -m benchmarks.counts.count_calls [--tree DIR] [--list]

Two messages are counted in real nodes in this process, on asyncio's event loop, one at a time in steady state:

- a client's write on a leader: a `CreateEntity` without a parent, on a cluster of one voter;
- an append of one entry on a follower of a cluster of two voters. It also commits the entry before it.

What counts is each call of a function in qcore's source (also of a property, a lambda or a generator expression) on the
thread of the node's event loop. Constructors that `dataclass` generates, built-in functions and other libraries do not
count, and neither does the storage's thread. Counting begins with the turn of the event loop in which the message's
bytes arrive, and ends with the turn in which the response is written. The result is the fewest calls of many messages:
that leaves out timers that happen to fire meanwhile.

The road of a message is its way between socket and replica, so its length is the number of calls in `qcore.node` and
`qcore.transport`. The other packages decide what the message does, and their calls are shown for comparison.

With `--tree` the nodes are those of another checkout, whose modules may have the names of version 0.1.0.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

from websockets.sync.client import ClientConnection, connect

#: The packages between socket and replica.
ROAD: Final = ("node", "runtime", "transport")

#: How often a message is sent. The result is that of the message with the fewest calls.
_REPETITIONS: Final = 40
#: Timeouts so long that few heartbeats and no election disturb the count, and that an election does not take long, ms.
_HEARTBEAT_MS: Final = 100
_ELECTION_MS: Final = 500

_SCHEMA: Final = {
    "entity_type": "Item",
    "inherit": None,
    "fields": {
        "Name": {
            "String": {
                "field_type": "Name",
                "default_value": "",
                "rank": 0,
                "read_permission": None,
                "write_permission": None,
            }
        }
    },
}


@dataclass(slots=True)
class Turn:
    """One callback of the event loop.

    Attributes:
        calls: the functions of qcore that it called, as (module, name), with the depth of each call.
        received, wrote: whether it received bytes from a connection, and whether it wrote to one.
    """

    calls: list[tuple[str, str, int]] = field(default_factory=list)
    received: bool = False
    wrote: bool = False


class CallCounter:
    """Counts the calls on one event loop. Its thread installs `hook` with `sys.setprofile`."""

    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self._turn: Turn | None = None
        self._depth = 0

    def hook(self, frame: FrameType, event: str, _argument: object) -> None:
        """Note one event of the interpreter."""
        if event not in ("call", "return"):
            return
        module = frame.f_globals.get("__name__", "")
        name = frame.f_code.co_name
        if module == "asyncio.events" and name == "_run":
            self._turn = None
            if event == "call":
                self._turn = Turn()
                self._turns.append(self._turn)
                self._depth = 0
            return
        turn = self._turn
        if turn is None:
            return
        if event == "return":
            self._depth -= 1
            return
        self._depth += 1
        if module.startswith("qcore.") and not frame.f_code.co_filename.startswith("<"):
            turn.calls.append((module, frame.f_code.co_qualname, self._depth))
            turn.received = turn.received or name == "data_received"
        elif module == "asyncio.selector_events" and name == "write":
            turn.wrote = True

    def take(self) -> list[tuple[str, str, int]]:
        """The calls from the turn in which bytes arrived to the turn in which the response was written."""
        turns, self._turns = self._turns, []
        first = next(index for index, turn in enumerate(turns) if turn.received)
        last = next(index for index, turn in enumerate(turns) if index >= first and turn.wrote)
        return [call for turn in turns[first : last + 1] for call in turn.calls]


class RunningNode:
    """A real node on an event loop in a thread of this process."""

    def __init__(self, node_id: int, directory: Path) -> None:
        self.counter = CallCounter()
        self.address = ""
        self._node_id = node_id
        self._directory = directory
        directory.mkdir()
        self._ready = threading.Event()
        self._problem: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._end: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name=f"node {node_id}")

    def start(self) -> None:
        """Start the node, and wait until it listens."""
        self._thread.start()
        self._ready.wait()
        if self._problem is not None:
            raise self._problem

    def stop(self) -> None:
        """Stop the node."""
        if self._end is not None:
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def count(self, action: Callable[[], None]) -> list[tuple[str, str, int]]:
        """The calls that the node makes for the message that `action` sends, up to its response."""
        self._call(lambda: sys.setprofile(self.counter.hook))
        action()
        self._call(lambda: sys.setprofile(None))
        return self.counter.take()

    def _call(self, action: Callable[[], None]) -> None:
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(act)
        done.wait()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._problem = error
            raise
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        node = make_node(self._node_id, self._directory)
        self.address = await node.start()
        self._ready.set()
        await self._end.wait()
        await node.stop()


def make_node(node_id: int, directory: Path) -> Any:
    """A node of the tree that is on `sys.path`, whose modules have today's names or those of version 0.1.0."""
    config = importlib.import_module("qcore.node.config")
    address = _first("qcore.transport.address:Address", "qcore.node.config:Address")
    log = _first("qcore.node.observability.logs:NodeLog", "qcore.node.logs:NodeLog")
    storage = _first("qcore.storage.memory:MemoryStorage")
    application = _first("qcore.node.application:EntityApplication")
    make = getattr(config.NodeConfig, "of", config.NodeConfig)  # older trees have no `of`
    settings = make(
        node_id=node_id,
        data_dir=directory,
        ws_addr=address("127.0.0.1", 0),
        heartbeat_ms=_HEARTBEAT_MS,
        election_timeout_min_ms=_ELECTION_MS,
        election_timeout_max_ms=_ELECTION_MS,
        priority=2 if node_id == 1 else 1,
    )
    node = _first("qcore.node.replica_node:ReplicaNode", "qcore.node.node:Node")
    return node(settings, application(), storage(node_id), log(node_id))


def _first(*places: str) -> Any:
    """The first of these objects (`module:name`) that exists."""
    for place in places:
        module, name = place.split(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise SystemExit(f"this tree has none of {', '.join(places)}")


class Client:
    """A client that makes one request at a time."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._created = 0

    def request(self, kind: str, **fields: object) -> None:
        """Send a request, and wait for its response, which must not be an error."""
        self._connection.send(json.dumps({kind: {"id": "1", **fields}}))
        response = json.loads(self._connection.recv())
        body = response.get(f"{kind}Response", {}).get("response")
        result = next(iter(body.values())) if kind == "Perform" and body else body
        if not isinstance(result, dict) or result.get("error") or "Err" in result:
            raise SystemExit(f"{kind} failed: {response}")

    def write(self) -> None:
        """Create an entity."""
        self._created += 1
        create = {"entity_type": "Item", "parent_id": None, "name": f"n{self._created}"}
        self.request("Perform", request={"CreateEntity": create})


@contextmanager
def cluster(size: int) -> Iterator[tuple[list[RunningNode], Client]]:
    """A cluster whose first node leads, and a client of that node."""
    with tempfile.TemporaryDirectory() as directory:
        nodes = [RunningNode(number, Path(directory, str(number))) for number in range(1, size + 1)]
        try:
            for node in nodes:
                node.start()
            with connect(f"ws://{nodes[0].address}/") as connection:
                client = Client(connection)
                members = [[number, node.address] for number, node in enumerate(nodes, 1)]
                client.request("Init", nodes=members)
                client.request("Perform", request={"SetSchema": {"entity_schema": _SCHEMA}})
                client.write()
                yield nodes, client
        finally:
            for node in nodes:
                node.stop()


def fewest(node: RunningNode, client: Client) -> list[tuple[str, str, int]]:
    """The calls of the write with the fewest calls at this node."""
    return min((node.count(client.write) for _ in range(_REPETITIONS)), key=len)


def count_write() -> list[tuple[str, str, int]]:
    """The calls that a client's write costs the leader of a cluster of one."""
    with cluster(1) as (nodes, client):
        return fewest(nodes[0], client)


def count_append() -> list[tuple[str, str, int]]:
    """The calls that an append of one entry costs the follower of a cluster of two."""
    with cluster(2) as (nodes, client):
        return fewest(nodes[1], client)


def by_package(calls: list[tuple[str, str, int]]) -> Mapping[str, int]:
    """The number of calls in each package of qcore."""
    return Counter(module.split(".")[1] for module, _, _ in calls)


def road_length(calls: list[tuple[str, str, int]]) -> int:
    """The number of calls in the packages between socket and replica."""
    packages = by_package(calls)
    return sum(packages.get(name, 0) for name in ROAD)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tree", type=Path, help="count in the nodes of this checkout")
    parser.add_argument("--list", action="store_true", help="also list the calls, indented")
    options = parser.parse_args()
    logging.disable()  # a node warns when the other one stops
    if options.tree is not None:
        sys.path.insert(0, str(options.tree.resolve()))
    for what, count in (
        ("write on the leader", count_write),
        ("append on a follower", count_append),
    ):
        calls = count()
        packages = by_package(calls)
        print(
            f"{what}: {road_length(calls)} calls between socket and replica, {len(calls)} in all:"
        )
        print("  " + ", ".join(f"{name} {packages[name]}" for name in sorted(packages)))
        if options.list:
            for module, name, depth in calls:
                print(f"{' ' * depth}{module.removeprefix('qcore.')} {name}")


if __name__ == "__main__":
    main()
