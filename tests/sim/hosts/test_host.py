"""A simulated computer: its names, its runtime, the lives of its process, and its power."""

from __future__ import annotations

import asyncio
import gc

import pytest

from qcore.errors import TransportError
from qcore.runtime.interface import Runtime
from qcore.sim.world.hosts.tcp_kernel import ListeningSocket
from tests.sim.support.computers import PORT, Computers, Recorder, connected


def test_a_process_finds_names_and_addresses() -> None:
    computers = Computers()
    runtime: Runtime = computers[1].runtime

    async def look_up(name: str) -> list[str]:
        return await runtime.resolve(name, 1.0)

    found = [
        computers.finish(computers.start(1, look_up(name)))
        for name in ("node-2", computers[2].ip, "127.0.0.1")
    ]
    assert found == [[computers[2].ip], [computers[2].ip], ["127.0.0.1"]]
    task = computers.start(1, look_up("nowhere"))
    computers.run(0.0001)
    assert runtime.is_resolving("nowhere")
    with pytest.raises(TransportError, match="'nowhere': there is no such name"):
        computers.finish(task)
    assert not runtime.is_resolving("nowhere")


def test_random_numbers_differ_by_computer_and_life_and_repeat() -> None:
    def drawn(computers: Computers, vertex: int) -> tuple[bytes, str, float, float]:
        runtime = computers[vertex].runtime
        return (
            runtime.random_bytes(8),
            runtime.new_token(),
            runtime.new_rng().random(),
            runtime.new_rng().random(),
        )

    computers = Computers()
    first, other = drawn(computers, 1), drawn(computers, 2)
    computers[1].kill()
    computers[1].boot()
    second = drawn(computers, 1)
    values = [*first, *other, *second]
    assert len(values) == len(dict.fromkeys(values))
    assert first == drawn(Computers(), 1)
    assert first != drawn(Computers(seed=2), 1)


def test_clocks_are_those_of_the_computer() -> None:
    computers = Computers()
    host = computers[1]
    host.clock.set_drift(0, 500_000)
    host.clock.wall_offset_us = 7
    computers.run(2)
    runtime = host.runtime
    assert runtime.monotonic_us() == 3_000_000
    assert runtime.seconds() == host.loop.time() == 3.0
    assert runtime.wall_us() == host.clock.wall_of(3_000_000)


def test_long_work_leaves_the_event_loop_free() -> None:
    computers = Computers()
    host = computers[1]
    host.processor.long_work_us = 50_000
    log: list[str] = []

    def fail() -> None:
        raise ValueError("of the work")

    async def work() -> None:
        asyncio.get_running_loop().call_later(0.01, log.append, "meanwhile")
        log.append(await host.runtime.run_long(lambda: "done"))
        with pytest.raises(ValueError, match="of the work"):
            await host.runtime.run_long(fail)

    computers.finish(computers.start(1, work()))
    assert log == ["meanwhile", "done"]
    assert computers.engine.now >= 100_000


def test_long_work_of_a_dead_process_is_not_done() -> None:
    computers = Computers()
    log: list[str] = []

    async def work() -> None:
        await computers[1].runtime.run_long(lambda: log.append("done"))

    computers.start(1, work())
    computers.run(0.0005)
    computers[1].kill()
    computers.run(1)
    assert log == []


def test_a_process_may_kill_itself_in_a_callback() -> None:
    class Suicidal(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.write(b"last words")
            computers[2].kill()
            self.transport.write(b"from beyond")

    computers = Computers()
    client, server = connected(computers)
    server.transport.set_protocol(protocol := Suicidal())
    protocol.connection_made(server.transport)
    client.transport.write(b"x")
    computers.run(1)
    assert client.received == b"last words"
    assert client.calls[-1] == "connection_lost"
    assert not protocol.lost
    assert computers.errors == []


def test_a_killed_process_leaves_its_port_to_the_next_one() -> None:
    computers = Computers()
    connected(computers)
    computers[2].kill()
    computers[2].boot()
    client, server = connected(computers)
    client.transport.write(b"hello")
    computers.run(0.1)
    assert server.received == b"hello"


def test_what_a_dead_process_leaves_is_freed() -> None:
    class Large(Recorder):
        alive = 0

        def __init__(self) -> None:
            super().__init__()
            Large.alive += 1

        def __del__(self) -> None:
            Large.alive -= 1

    computers = Computers()

    async def connect() -> None:
        await computers[1].runtime.connect(Large, computers[2].ip, PORT)
        await asyncio.sleep(3600)

    connected(computers)
    for _ in range(3):
        task = computers.start(1, connect())
        computers.run(1)
        assert not task.done()
        computers[1].kill()
        computers[1].boot()
        del task
    computers.run(100)
    gc.collect()
    assert Large.alive == 0


def test_a_full_backlog_makes_connections_wait() -> None:
    computers = Computers()
    host = computers[2]
    listening = ListeningSocket(3, lambda: None)
    host.kernel.listen(PORT, listening)

    def connect() -> asyncio.Task[Recorder]:
        return computers.start(1, computers[1].runtime.connect(Recorder, host.ip, PORT))

    together = [connect() for _ in range(5)]
    computers.run(0.5)
    late = connect()
    computers.run(0.4)
    # Those of the first moment are open at their end, as with Linux.
    assert [task.done() for task in (*together, late)] == [True] * 5 + [False]
    assert len(listening.waiting) == 3
    listening.waiting.clear()
    computers.run(3)
    assert late.done()
    assert len(listening.waiting) == 3


def test_a_listener_that_closes_resets_what_it_has_not_accepted() -> None:
    computers = Computers()
    kernel = computers[2].kernel
    kernel.listen(PORT, ListeningSocket(3, lambda: None))
    runtime = computers[1].runtime
    client = computers.finish(computers.start(1, runtime.connect(Recorder, computers[2].ip, PORT)))
    kernel.unlisten(PORT)
    computers.run(0.1)
    assert isinstance(client.error, ConnectionResetError)


def test_failed_tasks_whose_errors_were_retrieved_are_dropped() -> None:
    computers = Computers()
    loop = computers[1].loop

    async def fail() -> None:
        raise ValueError("a bug")

    async def main() -> None:
        for _ in range(2000):
            await asyncio.wait([task := loop.create_task(fail())])
            task.exception()

    computers.finish(computers.start(1, main()))
    forgotten = computers.start(1, fail())
    computers.run(1)
    assert len(loop._failed) <= 101
    loop.report_failed_tasks()
    assert computers.errors == ["a task that nothing awaited: ValueError('a bug')"]
    assert forgotten.done()


def test_wrong_use_of_a_computer_fails_clearly() -> None:
    host = Computers()[1]
    with pytest.raises(AssertionError, match="a process runs on node-1"):
        host.boot()
    host.kill()
    host.kill()
    for name in ("loop", "runtime"):
        with pytest.raises(AssertionError, match="no process runs on node-1"):
            getattr(host, name)
