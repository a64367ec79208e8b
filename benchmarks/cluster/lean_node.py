"""The floor under qcore's writes: what a replicated, synced write costs a Python process that does nothing else.

    python -m benchmarks.cluster.lean_node [--qcore-log] DIRECTORY PORT [PORT OF A FOLLOWER ...]

With `--qcore-log` it stores what qcore stores: checksums, the hard state with each entry, and the high-water mark.
The process with followers leads. It uses qcore's frames and JSON with clients and followers. It appends to a log in
SQLite with one synced transaction for each batch, as qcore does: in a thread at the leader, in the event loop at a
follower. It answers when two of three have synced. It has no terms, elections, heartbeats, sessions, limits, checks,
metrics, snapshots or entity store: its state is a dictionary. So it is not a program to use. It shows what the frames,
JSON, sockets, syncs and turns of the event loop cost by themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypedDict, cast

from pydantic_core import from_json, to_json

from qcore.core.effects import AppendLog, SaveHardState
from qcore.core.entry import Entry, HardState
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from qcore.transport.connection.text_frames import masked_text_frame, take_texts, text_frame

_MASK = b"lean"
_LARGEST = 16 << 20
#: What RFC 6455 adds to a client's key.
_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Log:
    """A log in SQLite, with the settings of qcore's log."""

    def __init__(self, directory: Path) -> None:
        self._connection = sqlite3.connect(
            directory / "lean.db", isolation_level=None, check_same_thread=False
        )
        for pragma in (
            "locking_mode=EXCLUSIVE",
            "journal_mode=WAL",
            "synchronous=FULL",
            "wal_autocheckpoint=4000",
        ):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        self._connection.execute("CREATE TABLE log (number INTEGER PRIMARY KEY, command TEXT)")

    def append(self, first: int, commands: Sequence[str]) -> None:
        """Make the commands durable; the first one has this number."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(
            "INSERT INTO log VALUES (?, ?)", list(enumerate(commands, start=first))
        )
        self._connection.execute("COMMIT")


class QcoreLog:
    """The log of a qcore node."""

    def __init__(self, directory: Path) -> None:
        self._storage = SqliteStorage.open(directory, 1)
        self._storage.load()
        self._storage.write([SaveHardState(0, HardState(1, None, 0))])

    def append(self, first: int, commands: Sequence[str]) -> None:
        """See `Log.append`."""
        now = time.time_ns() // 1000
        entries = [
            Entry(index, 1, "command", command, now, now)
            for index, command in enumerate(commands, start=first)
        ]
        self._storage.write([AppendLog(first, entries)], first - 1)


class Texts:
    """One connection, as asyncio calls it: the texts of its frames go to `receive`."""

    def __init__(self, receive: Callable[[Texts, list[bytes]], None], *, client: bool) -> None:
        self._receive = receive
        self._client = client
        self._open = False
        self._buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = transport
        if self._client:
            transport.write(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: bGVhbg==\r\n\r\n")

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""

    def eof_received(self) -> None:
        """See `asyncio.Protocol`."""

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._buffer:
            data = self._buffer + data
        if not self._open:
            data = self._shake_hands(data)
        texts, used = take_texts(data, masked=not self._client, most=_LARGEST)
        self._buffer = data[used:]
        if texts:
            self._receive(self, texts)

    def send(self, text: bytes) -> None:
        """Send one text."""
        if not self.transport.is_closing():
            frame = masked_text_frame(text, _MASK) if self._client else text_frame(text)
            self.transport.write(frame)

    def _shake_hands(self, data: bytes) -> bytes:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            return b""
        self._open = True
        if not self._client:
            key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
            accept = base64.b64encode(hashlib.sha1(key + _KEY_SUFFIX).digest())
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
        return rest


class Append(TypedDict):
    """What the leader sends to its followers."""

    first: int
    commands: list[str]


class Follower:
    """Stores what the leader sends, and acknowledges it."""

    def __init__(self, log: Log | QcoreLog) -> None:
        self._log = log
        self._state: dict[str, object] = {}

    def receive(self, connection: Texts, texts: list[bytes]) -> None:
        """Messages of the leader."""
        for text in texts:
            append = cast(Append, from_json(text)["Append"])
            self._log.append(append["first"], append["commands"])
            last = append["first"] + len(append["commands"]) - 1
            connection.send(to_json({"Appended": {"last": last}}))
            for command in append["commands"]:
                apply(self._state, from_json(command))


class Leader:
    """Takes the writes of clients. A write is committed when two of three processes have synced it."""

    def __init__(self, log: Log | QcoreLog, followers: Sequence[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._log = log
        self._followers = followers
        self._links: list[Texts] = []
        self._state: dict[str, object] = {}
        self._last = self._committed = 0
        self._synced = [0, *(0 for _ in followers)]
        self._new: list[tuple[Texts, dict[str, object]]] = []
        self._waiting: dict[int, tuple[Texts, dict[str, object]]] = {}
        self._to_disk: queue.SimpleQueue[tuple[int, list[str]]] = queue.SimpleQueue()
        threading.Thread(target=self._write, daemon=True).start()

    async def connect(self) -> None:
        """Connect with the followers."""
        for place, port in enumerate(self._followers, start=1):

            def receive(_link: Texts, texts: list[bytes], place: int = place) -> None:
                for text in texts:
                    self._on_synced(place, from_json(text)["Appended"]["last"])

            link = Texts(receive, client=True)
            await self._loop.create_connection(
                partial(cast, asyncio.Protocol, link), "127.0.0.1", port
            )
            self._links.append(link)

    def receive(self, connection: Texts, texts: list[bytes]) -> None:
        """Requests of a client."""
        if not self._new:
            self._loop.call_soon(self._step)
        for text in texts:
            envelopes = from_json(text)
            for envelope in envelopes if isinstance(envelopes, list) else [envelopes]:
                self._new.append((connection, envelope["Perform"]))

    def _step(self) -> None:
        requests, self._new = self._new, []
        first = self._last + 1
        commands: list[str] = []
        for connection, request in requests:
            self._last += 1
            self._waiting[self._last] = (connection, request)
            commands.append(to_json(request).decode())
        text = to_json({"Append": {"first": first, "commands": commands}})
        self._to_disk.put((first, commands))
        for link in self._links:
            link.send(text)

    def _write(self) -> None:
        while True:
            first, commands = self._to_disk.get()
            self._log.append(first, commands)
            last = first + len(commands) - 1
            self._loop.call_soon_threadsafe(self._on_synced, 0, last)

    def _on_synced(self, place: int, last: int) -> None:
        self._synced[place] = last
        committed = sorted(self._synced)[len(self._synced) // 2]
        answers: dict[Texts, list[bytes]] = {}
        while self._committed < committed:
            self._committed += 1
            connection, request = self._waiting.pop(self._committed)
            answers.setdefault(connection, []).append(apply(self._state, request))
        for connection, texts in answers.items():
            connection.send(texts[0] if len(texts) == 1 else b"[" + b",".join(texts) + b"]")


def apply(state: dict[str, object], request: dict[str, object]) -> bytes:
    """Set the value, and make the response."""
    body = cast("dict[str, dict[str, list[dict[str, dict[str, object]]]]]", request["request"])
    write = body["UpdateEntity"]["request"][0]["Write"]
    state[str(write["entity_id"])] = write["value"]
    response = {"id": request["id"], "error": None, "response": {"Write": write}}
    return to_json({"PerformResponse": response})


async def serve(directory: Path, port: int, followers: Sequence[int], *, qcore_log: bool) -> None:
    """Serve until the process is killed."""
    loop = asyncio.get_running_loop()
    log = QcoreLog(directory) if qcore_log else Log(directory)
    leader = Leader(log, followers) if followers else None
    receive = leader.receive if leader else Follower(log).receive
    server = await loop.create_server(
        lambda: cast(asyncio.Protocol, Texts(receive, client=False)), "127.0.0.1", port
    )
    if leader:
        await leader.connect()
    print("ready", flush=True)
    await server.serve_forever()


def main() -> None:
    """Run with the arguments of the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--qcore-log", action="store_true")
    parser.add_argument("directory", type=Path)
    parser.add_argument("ports", type=int, nargs="+")
    options = parser.parse_args()
    port, *followers = options.ports
    serving = serve(options.directory, port, followers, qcore_log=options.qcore_log)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)


if __name__ == "__main__":
    main()
