"""How simulated TCP connections end: closed, aborted, killed, without power, reset."""

from __future__ import annotations

import asyncio

import pytest

from qcore.sim.world.hosts.segments import Segment
from qcore.sim.world.hosts.tcp_sender import SEND_BUFFER_BYTES
from tests.sim.support.computers import PORT, Computers, Recorder, connected

DATA = bytes(range(256)) * 4000


async def connect(computers: Computers, vertex: int, target: int, port: int = PORT) -> Recorder:
    runtime = computers[vertex].runtime
    (ip,) = await runtime.resolve(f"node-{target}", 1.0)
    return await runtime.connect(Recorder, ip, port)


def test_a_closed_connection_ends_for_both_and_is_forgotten() -> None:
    computers = Computers()
    client, server = connected(computers)
    client.transport.write(b"bye")
    client.transport.close()
    computers.run(1)
    assert server.received == b"bye"
    assert server.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]
    assert (client.lost, client.error, server.error) == (True, None, None)
    computers.run(120)
    assert computers[1].kernel.endpoints == computers[2].kernel.endpoints == []


def test_close_sends_everything_that_was_written() -> None:
    computers = Computers()
    client, server = connected(computers)
    client.transport.write(DATA)
    client.transport.close()
    assert not client.lost
    computers.run(5)
    assert server.received == DATA
    assert client.lost


def test_abort_drops_what_the_kernel_has_not_accepted() -> None:
    computers = Computers()
    client, server = connected(computers)
    client.transport.write(DATA)
    client.transport.abort()
    computers.run(5)
    assert server.received == DATA[:SEND_BUFFER_BYTES]
    assert (client.error, server.error) == (None, None)


def test_a_half_closed_connection_carries_data_back() -> None:
    class Patient(Recorder):
        def eof_received(self) -> bool:
            super().eof_received()
            self.transport.write(b"all of it")
            self.transport.close()
            return True

    computers = Computers()
    accepted: list[Patient] = []

    def accept() -> Patient:
        accepted.append(Patient())
        return accepted[0]

    async def listen() -> None:
        computers[2].runtime.listener(accept, lambda: None).start(["0.0.0.0"], PORT)

    computers.start(2, listen())
    computers.run(0.01)
    client = computers.finish(computers.start(1, connect(computers, 1, 2)))
    client.transport.write(b"question")
    client.transport.write_eof()
    computers.run(1)
    assert accepted[0].received == b"question"
    assert client.received == b"all of it"
    assert client.calls[-1] == "connection_lost"


def test_a_process_that_dies_ends_its_connections() -> None:
    computers = Computers()
    client, server = connected(computers)
    server.transport.write(b"last words")
    computers[2].kill()
    computers.run(1)
    assert client.received == b"last words"
    assert client.calls[-2:] == ["eof_received", "connection_lost"]
    assert client.error is None


def test_a_process_that_dies_without_reading_resets() -> None:
    computers = Computers()
    client, server = connected(computers)
    server.transport.pause_reading()
    client.transport.write(b"unread")
    computers.run(1)
    computers[2].kill()
    computers.run(1)
    assert isinstance(client.error, ConnectionResetError)
    assert client.calls[-1] == "connection_lost"
    assert "eof_received" not in client.calls


def test_data_to_a_closed_socket_is_answered_by_a_reset() -> None:
    computers = Computers()
    client, _ = connected(computers)
    client.transport.pause_reading()  # so that it does not see the end of the stream
    computers[2].kill()
    computers.run(0.1)
    client.transport.write(b"too late")
    computers.run(0.1)
    client.transport.write(b"still there?")
    computers.run(0.1)
    assert isinstance(client.error, BrokenPipeError)


def test_a_power_loss_leaves_the_other_end_half_open() -> None:
    computers = Computers()
    client, server = connected(computers)
    computers[2].power_off()
    computers.run(3600)
    assert not client.lost  # nothing was sent, so nothing is known
    assert "connection_lost" not in server.calls
    client.transport.write(b"hello?")
    computers.run(5)
    assert not client.lost
    computers[2].boot()
    computers.run(30)  # until the data is sent again
    assert isinstance(client.error, ConnectionResetError)


def test_a_restarted_computer_can_connect_on_the_same_ports() -> None:
    computers = Computers()
    _, server = connected(computers)
    computers[1].power_off()
    computers[1].power_on()
    computers[1].kernel._next_port = (
        int(server.transport.get_extra_info("peername")[1]) - 32768
    )  # by chance
    computers[1].boot()
    client = computers.finish(computers.start(1, connect(computers, 1, 2)))
    client.transport.write(b"new")
    computers.run(1)
    assert isinstance(server.error, ConnectionResetError)  # the old connection
    assert server.received == b""
    assert not client.lost


def test_a_reset_reaches_the_process_after_the_data_before_it() -> None:
    computers = Computers()
    client, server = connected(computers)
    client.transport.pause_reading()
    server.transport.write(b"data")
    computers.run(0.1)
    server.transport.pause_reading()
    client.transport.write(b"unread")
    computers.run(0.1)
    computers[2].kill()
    computers.run(0.1)
    client.transport.resume_reading()
    computers.run(0.1)
    assert client.received == b"data"
    assert isinstance(client.error, ConnectionResetError)


def test_an_error_of_a_protocol_ends_its_connection() -> None:
    class Faulty(Recorder):
        def data_received(self, data: bytes) -> None:
            raise RuntimeError("a bug")

    computers = Computers()
    client, server = connected(computers)
    client.transport.set_protocol(faulty := Faulty())
    server.transport.write(b"x")
    computers.run(1)
    assert computers.errors == ["a protocol: RuntimeError('a bug')"]
    assert isinstance(faulty.error, RuntimeError)
    assert server.lost


def test_a_dead_process_neither_sends_nor_accepts() -> None:
    computers = Computers()
    client, _ = connected(computers)
    runtime = computers[1].runtime
    computers[1].kill()
    computers.run(1)
    before = len(computers.segments)
    client.transport.write(b"from beyond")
    client.transport.close()
    with pytest.raises(OSError, match="Cannot assign"):
        runtime.listener(Recorder, lambda: None).start(["0.0.0.0"], PORT)
    computers.run(1)
    assert len(computers.segments) == before


def test_a_socket_that_the_other_end_never_closes_is_forgotten() -> None:
    computers = Computers()
    client, server = connected(computers)
    server.transport.pause_reading()
    client.transport.close()
    computers.run(10)
    assert len(computers[1].kernel.endpoints) == 1
    computers.run(60)
    assert computers[1].kernel.endpoints == []


def test_a_reset_of_an_earlier_connection_is_ignored() -> None:
    computers = Computers()
    client, server = connected(computers)
    (endpoint,) = computers[1].kernel.endpoints
    port, vertex, remote_port = endpoint.key
    assert vertex == 2
    old = Segment(remote_port, port, 17, None, 0, rst=True)
    computers[1].receive(2, old, "")
    client.transport.write(b"still open")
    computers.run(0.1)
    assert server.received == b"still open"
    assert not client.lost


def test_a_process_that_dies_has_sent_what_it_wrote_before() -> None:
    computers = Computers()
    client, server = connected(computers)
    server.transport.pause_reading()
    client.transport.write(b"unread")
    computers.run(0.1)
    computers[2].loop.call_soon(server.transport.write, b"last words")
    computers.run(0.000001)
    computers[2].kill()  # during the time of the callback
    computers.run(0.1)
    assert client.received == b"last words"
    assert isinstance(client.error, ConnectionResetError)


def test_code_that_runs_because_a_process_dies_sends_nothing() -> None:
    computers = Computers()
    client, server = connected(computers)

    async def wait() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            server.transport.write(b"from beyond")

    computers.start(2, wait())
    computers.run(0.1)
    computers[2].kill()
    computers.run(0.1)
    assert client.received == b""
    assert client.lost


def test_a_computer_without_power_does_nothing_more() -> None:
    computers = Computers()
    client, _ = connected(computers)
    (endpoint,) = computers[1].kernel.endpoints
    computers.cut(1, 2)
    client.transport.write(b"x")
    computers.run(0.1)
    computers[1].power_off()
    computers.run(3000)
    assert endpoint.error is None
    assert endpoint.sender.retries == 0
