"""A protocol sees the same calls, bytes and errors on the simulated TCP as with asyncio on real sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.hosts.host_loop import Processor, new_host_loop
from qcore.sim.world.node.node_clock import NodeClock
from tests.sim.support.computers import Computers, Recorder, connected

#: More than all buffers hold.
BIG = 2_000_000
#: Of a real socket, for each direction.
BUFFER = 128 * 1024


class Opener(Recorder):
    """A protocol that keeps its sending direction open when the other end has ended its stream."""

    def eof_received(self) -> bool:
        super().eof_received()
        return True


@dataclass(frozen=True)
class Seen:
    """What happened to the two ends until now. The times of pauses depend on the buffers, so they count once."""

    calls: tuple[tuple[str, ...], tuple[str, ...]]
    received: tuple[int, int]
    errors: tuple[str, str]
    closing: tuple[bool, bool]


def seen(ends: tuple[Recorder, Recorder]) -> Seen:
    def of(recorder: Recorder) -> tuple[str, ...]:
        return tuple(dict.fromkeys(recorder.calls))

    a, b = ends
    return Seen(
        (of(a), of(b)),
        (len(a.received), len(b.received)),
        (type(a.error).__name__, type(b.error).__name__),
        (a.transport.is_closing(), b.transport.is_closing()),
    )


#: A step: which end, and what it does with its transport.
Act = tuple[int, Callable[[asyncio.Transport], object]]


def write(end: int, size: int) -> Act:
    return end, lambda transport: transport.write(bytes(size))


def do(end: int, name: str) -> Act:
    def act(transport: asyncio.Transport) -> None:
        try:
            getattr(transport, name)()
        except OSError as error:
            recorder = transport.get_protocol()
            assert isinstance(recorder, Recorder)
            recorder.calls.append(f"{name} raised {type(error).__name__}")

    return end, act


SCRIPTS: dict[str, list[Act]] = {
    "question and answer": [write(0, 100), write(1, 70_000), do(0, "close")],
    "close with much to write": [write(0, BIG), do(0, "close")],
    "close by the server": [write(0, 5), do(1, "close")],
    "both close": [do(0, "close"), do(1, "close")],
    "end of the stream, then a write": [
        write(0, 10),
        do(0, "write_eof"),
        write(1, BIG),
        do(1, "close"),
    ],
    "end of the stream behind a full buffer": [
        do(1, "pause_reading"),
        write(0, BIG),
        do(0, "write_eof"),
        do(1, "resume_reading"),
        write(1, 7),
        do(1, "close"),
    ],
    "abort": [write(0, 10), do(1, "abort")],
    "close without reading": [do(0, "pause_reading"), write(1, 10), do(0, "close")],
    "close without reading, then a write": [
        do(0, "pause_reading"),
        do(1, "pause_reading"),
        write(1, 10),
        do(0, "abort"),
        write(1, 10),
        write(1, 10),
    ],
    "end of the stream after a reset": [
        do(1, "pause_reading"),
        do(0, "pause_reading"),
        write(1, 10),
        do(0, "abort"),
        do(1, "write_eof"),
    ],
    "a slow reader": [do(1, "pause_reading"), write(0, BIG), do(1, "resume_reading"), write(0, 1)],
    "write after close": [do(0, "close"), write(0, 10)],
    "write to one that closed": [do(1, "pause_reading"), do(0, "close"), write(1, 9), write(1, 9)],
}


def simulated(script: list[Act], opener: type[Recorder]) -> list[Seen]:
    computers = Computers()
    ends = connected(computers)
    ends[1].transport.set_protocol(server := opener())
    server.connection_made(ends[1].transport)
    pair = (ends[0], server)
    states = [seen(pair)]
    for end, act in script:
        with computers[end + 1].loop.entered():
            act(pair[end].transport)
        computers.run(5)
        states.append(seen(pair))
    assert computers.errors == []
    return states


async def real(script: list[Act], opener: type[Recorder], expected: list[Seen]) -> list[Seen]:
    """The states on real sockets. Waits for each expected state, for as long as it takes."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Recorder] = loop.create_future()

    class Server(opener):  # type: ignore[valid-type,misc]  # a parameter is its base class
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            accepted.set_result(self)

    listening = socket.create_server(("127.0.0.1", 0))
    _limit_buffers(listening)
    server = await loop.create_server(Server, sock=listening)
    _, client = await loop.create_connection(Recorder, *listening.getsockname())
    pair = (client, await accepted)
    for recorder in pair:
        _limit_buffers(recorder.transport.get_extra_info("socket"))
    server.close()
    states = [seen(pair)]
    for (end, act), state in zip(script, expected[1:], strict=True):
        act(pair[end].transport)
        deadline = time.monotonic() + 5
        while seen(pair) != state and time.monotonic() < deadline:  # noqa: ASYNC110  # nothing signals it
            await asyncio.sleep(0.002)
        states.append(seen(pair))
    for recorder in pair:
        recorder.transport.abort()
    return states


def _limit_buffers(limited: socket.socket) -> None:
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        limited.setsockopt(socket.SOL_SOCKET, option, BUFFER)


@pytest.mark.parametrize("opener", [Recorder, Opener])
@pytest.mark.parametrize("name", SCRIPTS)
def test_protocols_see_what_they_see_on_real_sockets(name: str, opener: type[Recorder]) -> None:
    expected = simulated(SCRIPTS[name], opener)
    assert asyncio.run(real(SCRIPTS[name], opener, expected)) == expected


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_random_scripts_are_the_same_on_real_sockets(seed: int) -> None:
    rng = Random(seed)
    names = ("close", "abort", "write_eof", "pause_reading", "resume_reading")
    acts = [write(end, size) for end in (0, 1) for size in (10, 70_000, BIG) for _ in range(2)]
    acts += [do(end, name) for end in (0, 1) for name in names]
    for _ in range(100):
        script = [rng.choice(acts) for _ in range(rng.randint(1, 6))]
        opener = rng.choice((Recorder, Opener))
        try:
            expected = simulated(script, opener)
        except RuntimeError:  # a write after the end of the stream
            continue
        assert asyncio.run(real(script, opener, expected)) == expected


# --- the order of callbacks -------------------------------------------------------------------------

#: A tree of callbacks: each one schedules its children, directly (s), as a task (t) or by a future (f).
Tree = list[tuple[str, "Tree"]]
LEAF: st.SearchStrategy[Tree] = st.just([])
TREES: st.SearchStrategy[Tree] = st.recursive(
    LEAF,
    lambda child: st.lists(st.tuples(st.sampled_from("stf"), child), max_size=4),
    max_leaves=25,
)


def order_in(loop: asyncio.AbstractEventLoop, tree: Tree, run: Callable[[], None]) -> list[str]:
    """The order in which the callbacks, tasks and awaited futures of a tree run."""
    log: list[str] = []

    def grow(name: str, children: Tree) -> None:
        log.append(name)
        for number, (kind, child) in enumerate(children):
            label = f"{name}{kind}{number}"
            if kind == "s":
                loop.call_soon(grow, label, child)
            elif kind == "t":
                tasks.append(loop.create_task(task(label, child)))
            else:
                future = loop.create_future()
                future.add_done_callback(partial(grown, label, child))
                future.set_result(None)

    def grown(name: str, children: Tree, _future: asyncio.Future[None]) -> None:
        grow(name, children)

    async def task(name: str, children: Tree) -> None:
        grow(name, children)
        await asyncio.sleep(0)
        log.append(f"{name} went on")

    tasks: list[asyncio.Task[None]] = []
    loop.call_soon(grow, "", tree)
    run()
    return log


@given(TREES)
@settings(max_examples=300)
def test_callbacks_run_in_the_order_of_asyncio(tree: Tree) -> None:
    ordinary = asyncio.new_event_loop()

    def run_ordinary() -> None:
        for _ in range(60):
            ordinary.call_soon(ordinary.stop)
            ordinary.run_forever()

    expected = order_in(ordinary, tree, run_ordinary)
    ordinary.close()
    engine = Engine()
    loop = new_host_loop(engine, NodeClock(), Processor())
    assert order_in(loop, tree, lambda: engine.run(1_000_000)) == expected
