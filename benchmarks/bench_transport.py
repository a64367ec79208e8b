"""Round trips of small requests: qcore's transport compared to the `websockets` coroutine API.

Both ends are in one process and one event loop, with one connection between them and 1, 64 or 256 requests in flight.
The response echoes the request's id. The two are measured alternately, because other work on the machine then affects
both. The qcore side validates every request strictly and matches responses by id. The other side does the minimum that
a program on the library's coroutine API must do: parse, respond, match by id.

    python -m benchmarks.bench_transport [--seconds 1] [--rounds 3] [--json] [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic_core import from_json, to_json
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection as LibraryConnection
from websockets.asyncio.server import serve

from benchmarks.support.codec_costs import CODEC, Perform, codec_costs
from qcore.errors import RemoteProtocolError, TransportError
from qcore.runtime.real import REAL
from qcore.transport.address import Address
from qcore.transport.codec.codec import encode_response
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.server.handler import HttpResponse
from qcore.transport.server.server import MessageHandler, Server, ServerConnection
from qcore.transport.wire import (
    Hello,
    HelloProof,
    HelloReply,
)

CONCURRENCY = (1, 64, 256)


FIELDS: dict[str, Any] = {
    "request": {"CreateEntity": {"entity_type": "Folder", "parent_id": None, "name": "Users"}}
}
RESPONSE = '{"CreateEntity":{"response":{"typ":"Folder","id":123},"error":null}}'

Ask = Callable[[], Awaitable[object]]


@dataclass(slots=True, frozen=True)
class Row:
    """Round trips per second, as medians of the rounds. `ratio` is qcore's rate divided by the library's."""

    concurrency: int
    qcore_per_s: float
    library_per_s: float
    ratio: float


class Echo:
    """A handler that responds immediately."""

    def __init__(self) -> None:
        self.requests: dict[type, MessageHandler] = {Perform: self.perform}
        self.peer_requests: dict[type, MessageHandler] = {}

    def on_request(
        self,
        connection: ServerConnection,
        authorization: Sequence[str],
        answer: Callable[[HttpResponse | None], None],
    ) -> None:
        answer(None)

    def needs_user(self) -> bool:
        return False

    def member_addresses(self) -> Iterable[str]:
        return ()

    def on_open(self, connection: ServerConnection) -> None:
        return

    def on_proof(
        self, connection: ServerConnection, hello: Hello, reply: HelloReply, proof: HelloProof
    ) -> None:
        raise RemoteProtocolError("this server accepts no peers")

    def on_hello(self, connection: ServerConnection, hello: Hello) -> HelloReply:
        raise RemoteProtocolError("this server accepts no peers")

    def perform(self, connection: ServerConnection, message: Perform) -> None:
        connection.send_encoded(encode_response("PerformResponse", message.id, RESPONSE))

    def on_close(self, connection: ServerConnection, error: TransportError | None) -> None:
        return

    def on_http(self, connection: ServerConnection, path: str) -> HttpResponse | None:
        return None


async def with_qcore(body: Callable[[Ask], Awaitable[float]]) -> float:
    """Run `body` with a function that sends a request over qcore's transport."""
    server = Server(CODEC, Echo(), runtime=REAL)
    client = await ClientConnection.connect(
        Address.parse(await server.start(Address("127.0.0.1", 0)))
    )
    try:
        return await body(lambda: client.request("Perform", FIELDS))
    finally:
        await client.close()
        await server.stop()


async def with_library(body: Callable[[Ask], Awaitable[float]]) -> float:
    """Run `body` with a function that sends a request over the coroutine API, without compression."""

    async def reply_to_all(ws: LibraryConnection) -> None:
        async for text in ws:
            request_id = from_json(text)["Perform"]["id"]
            await ws.send(encode_response("PerformResponse", request_id, RESPONSE), text=True)

    async with serve(reply_to_all, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}/", proxy=None, compression=None) as ws:
            waiting: dict[str, asyncio.Future[object]] = {}
            count = 0

            async def read() -> None:
                async for text in ws:
                    value = from_json(text)["PerformResponse"]
                    waiting.pop(value["id"]).set_result(value)

            async def ask() -> object:
                nonlocal count
                count += 1
                reply = waiting[str(count)] = asyncio.get_running_loop().create_future()
                await ws.send(to_json({"Perform": {"id": str(count), **FIELDS}}), text=True)
                return await reply

            reader = asyncio.create_task(read())
            try:
                return await body(ask)
            finally:
                reader.cancel()


def load(concurrency: int, seconds: float) -> Callable[[Ask], Awaitable[float]]:
    """A load with `concurrency` requests in flight. Its result is round trips per second."""

    async def body(ask: Ask) -> float:
        done = 0
        started = time.perf_counter()
        deadline = started + seconds

        async def worker() -> None:
            nonlocal done
            while time.perf_counter() < deadline:
                await ask()
                done += 1

        await asyncio.gather(*(worker() for _ in range(concurrency)))
        return done / (time.perf_counter() - started)

    return body


def measure(seconds: float, rounds: int) -> list[Row]:
    """Measure both transports at each concurrency, alternately."""
    rows = []
    for concurrency in CONCURRENCY:
        body = load(concurrency, seconds)
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(asyncio.run(with_qcore(body)))
            theirs.append(asyncio.run(with_library(body)))
        qcore, library = statistics.median(ours), statistics.median(theirs)
        rows.append(Row(concurrency, qcore, library, qcore / library))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--profile", action="store_true", help="profile qcore at 64 in flight")
    arguments = parser.parse_args()
    if arguments.profile:
        profiler = cProfile.Profile()
        profiler.enable()
        asyncio.run(with_qcore(load(64, arguments.seconds)))
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
        return
    rows = measure(arguments.seconds, arguments.rounds)
    costs = codec_costs()
    if arguments.json:
        print(json.dumps({"round_trips": [asdict(row) for row in rows], "codec_us": costs}))
        return
    print("round trips per second, both ends in one process")
    print(f"{'in flight':>10} {'qcore':>10} {'coroutine API':>14} {'ratio':>7}")
    for row in rows:
        print(
            f"{row.concurrency:>10} {row.qcore_per_s:>10.0f} {row.library_per_s:>14.0f} "
            f"{row.ratio:>7.2f}"
        )
    print("\nmicroseconds per message")
    for name, cost in costs.items():
        print(f"{name:>30} {cost:>6.2f}")


if __name__ == "__main__":
    main()
