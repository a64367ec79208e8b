"""The simulated TCP, seen from both processes: what asyncio's protocols and transports get on real sockets."""

from __future__ import annotations

import asyncio
import errno

import pytest

from qcore.sim.world.hosts.segments import SEGMENT_BYTES
from qcore.sim.world.hosts.tcp_receiver import RECEIVE_BUFFER_BYTES, TcpReceiver
from qcore.sim.world.hosts.tcp_sender import SEND_BUFFER_BYTES, TcpSender
from qcore.sim.world.network import LinkQuality
from tests.sim.support.computers import PORT, Computers, Recorder, connected

DATA = bytes(range(256)) * 4000


def flags(computers: Computers) -> list[str]:
    return [f"{a}{segment.flags}" for _, a, _, segment in computers.segments]


async def connect(computers: Computers, vertex: int, target: int, port: int = PORT) -> Recorder:
    runtime = computers[vertex].runtime
    (ip,) = await runtime.resolve(f"node-{target}", 1.0)
    return await runtime.connect(Recorder, ip, port)


# --- opening --------------------------------------------------------------------------------------


def test_a_connection_needs_three_segments_and_knows_its_ends() -> None:
    computers = Computers()
    client, server = connected(computers)
    assert flags(computers) == ["1S", "2SA", "1A"]
    assert client.transport.get_extra_info("peername") == (computers[2].ip, PORT)
    assert client.transport.get_extra_info("sockname") == server.transport.get_extra_info(
        "peername"
    )
    assert (client.calls, server.calls) == (["connection_made"], ["connection_made"])


def test_a_port_without_listener_refuses() -> None:
    computers = Computers()
    with pytest.raises(ConnectionRefusedError, match="Connection refused"):
        computers.finish(computers.start(1, connect(computers, 1, 2)))


def test_a_computer_without_process_refuses() -> None:
    computers = Computers()
    computers[2].kill()
    with pytest.raises(ConnectionRefusedError):
        computers.finish(computers.start(1, connect(computers, 1, 2)))


def test_a_silent_computer_lets_the_attempt_time_out() -> None:
    computers = Computers()
    computers[2].power_off()
    with pytest.raises(TimeoutError) as caught:
        computers.finish(computers.start(1, connect(computers, 1, 2)), within_s=200)
    assert caught.value.errno == errno.ETIMEDOUT
    assert computers.engine.now == pytest.approx(127_000_000, rel=0.01)  # as with Linux
    assert flags(computers) == ["1S"] * 7


def test_an_abandoned_attempt_sends_nothing_more() -> None:
    computers = Computers()
    computers[2].power_off()

    async def impatient() -> None:
        async with asyncio.timeout(4):
            await connect(computers, 1, 2)

    with pytest.raises(TimeoutError):
        computers.finish(computers.start(1, impatient()))
    computers.run(100)
    assert flags(computers) == ["1S"] * 3
    assert computers[1].kernel.endpoints == []


def test_an_unknown_address_is_unreachable() -> None:
    computers = Computers()
    with pytest.raises(OSError, match="No route to host"):
        computers.finish(
            computers.start(1, computers[1].runtime.connect(Recorder, "10.0.9.9", PORT))
        )


def test_a_lost_first_segment_is_sent_again() -> None:
    computers = Computers()
    computers.cut(1, 2)
    task = computers.start(1, connect(computers, 1, 2))
    computers.run(0.5)
    computers.heal()
    with pytest.raises(ConnectionRefusedError):
        computers.finish(task)
    assert computers.engine.now == pytest.approx(1_002_000, rel=0.01)


def test_a_port_cannot_be_used_twice_and_zero_finds_a_free_one() -> None:
    computers = Computers()

    async def listen() -> None:
        runtime, ip = computers[2].runtime, computers[2].ip
        first = runtime.listener(Recorder, lambda: None)
        assert first.start([ip], PORT) == PORT
        with pytest.raises(OSError, match="Address already in use"):
            runtime.listener(Recorder, lambda: None).start([ip], PORT)
        assert runtime.listener(Recorder, lambda: None).start([ip], 0) not in (0, PORT)
        with pytest.raises(OSError, match="Cannot assign requested address"):
            runtime.listener(Recorder, lambda: None).start([computers[1].ip], PORT)
        first.close()
        runtime.listener(Recorder, lambda: None).start([ip], PORT)

    computers.finish(computers.start(2, listen()))


def test_a_computer_can_connect_to_itself() -> None:
    computers = Computers()
    client, server = connected(computers, 1, 1)
    client.transport.write(b"hello")
    computers.run(0.01)
    assert server.received == b"hello"


# --- data -----------------------------------------------------------------------------------------


def test_data_travels_with_the_acknowledgement() -> None:
    computers = Computers()
    client, server = connected(computers)
    computers.segments.clear()
    client.transport.write(b"request")
    computers.run(0.0015)
    server.transport.write(b"response")
    computers.run(0.5)
    assert flags(computers) == ["1AD", "2AD", "1A"]
    assert (bytes(server.received), bytes(client.received)) == (b"request", b"response")


def test_much_data_arrives_and_needs_few_segments() -> None:
    computers = Computers()
    client, server = connected(computers)
    client.transport.write(DATA)
    computers.run(2)
    assert server.received == DATA
    with_data = [segment for _, a, _, segment in computers.segments if a == 1 and segment.data]
    assert len(with_data) <= len(DATA) // SEGMENT_BYTES + 5
    assert client.transport.get_write_buffer_size() == 0


@pytest.mark.parametrize("lost", [(0,), (1,), (0, 2), (0, 1, 2, 3)])
def test_lost_segments_are_repeated_before_their_timeout(lost: tuple[int, ...]) -> None:
    computers = Computers()
    client, server = connected(computers)
    link = computers.network.link(1, 2)
    client.transport.write(bytes(5))
    computers.run(0.1)
    for number in range(8):
        link.set_quality(LinkQuality(loss=float(number in lost)))
        client.transport.write(DATA[number * SEGMENT_BYTES : (number + 1) * SEGMENT_BYTES])
        computers.run(0.0001)
    computers.run(0.02)
    assert server.received[5:] == DATA[: 8 * SEGMENT_BYTES]


def test_a_partition_delays_data_until_the_repetition() -> None:
    computers = Computers()
    client, server = connected(computers)
    computers.cut(1, 2)
    client.transport.write(b"late")
    computers.run(3)
    assert server.received == b""
    computers.heal()
    computers.run(4)
    assert server.received == b"late"
    assert not client.lost


def test_a_partition_without_end_breaks_the_connection() -> None:
    computers = Computers()
    client, _ = connected(computers)
    computers.cut(1, 2)
    client.transport.write(b"never")
    computers.run(600)
    assert not client.lost
    computers.run(1000)
    assert isinstance(client.error, TimeoutError)


def test_bandwidth_limits_the_rate() -> None:
    quality = LinkQuality(bandwidth_bytes_per_s=1_000_000)
    computers = Computers(quality=quality)
    client, server = connected(computers)
    client.transport.write(DATA)
    began = computers.engine.now
    while len(server.received) < len(DATA):
        computers.run(0.01)
    assert computers.engine.now - began == pytest.approx(1_040_000, rel=0.05)


# --- a slow reader --------------------------------------------------------------------------------


def test_a_reader_that_pauses_stops_the_writer() -> None:
    computers = Computers()
    client, server = connected(computers)
    server.transport.pause_reading()
    client.transport.write(DATA * 5)
    computers.run(60)
    assert server.received == b""
    assert computers[2].kernel.held_bytes() <= RECEIVE_BUFFER_BYTES
    assert computers[1].kernel.held_bytes() <= SEND_BUFFER_BYTES
    kernels = RECEIVE_BUFFER_BYTES + SEND_BUFFER_BYTES
    assert client.transport.get_write_buffer_size() == pytest.approx(
        5 * len(DATA) - kernels, abs=SEGMENT_BYTES
    )
    assert client.calls[-1] == "pause_writing"
    server.transport.resume_reading()
    computers.run(30)
    assert server.received == DATA * 5
    assert client.calls[-1] == "resume_writing"


def test_a_lost_window_update_is_asked_for() -> None:
    computers = Computers()
    client, server = connected(computers)
    server.transport.pause_reading()
    client.transport.write(DATA)
    computers.run(1)
    computers.network.link(2, 1).set_quality(LinkQuality(loss=1.0))
    server.transport.resume_reading()
    computers.run(0.2)
    computers.network.link(2, 1).set_quality(LinkQuality())
    computers.run(20)
    assert server.received == DATA


def test_after_a_long_stop_data_flows_as_usual() -> None:
    computers = Computers()
    client, server = connected(computers)
    server.transport.pause_reading()
    client.transport.write(DATA)
    computers.run(300)
    links = computers.network.link(1, 2)
    links.set_quality(LinkQuality(loss=1.0))
    server.transport.resume_reading()
    computers.run(0.05)
    links.set_quality(LinkQuality())
    computers.run(2)  # not the long pause of the questions for the window
    assert server.received == DATA


def test_data_beyond_the_window_is_not_kept() -> None:
    receiver = TcpReceiver(100)
    receiver.take(100 + RECEIVE_BUFFER_BYTES - 3, b"early", ends=False)
    assert receiver.held_bytes == 3
    receiver.take(100 + RECEIVE_BUFFER_BYTES, b"too early", ends=False)
    assert receiver.held_bytes == 3


def test_an_acknowledgement_of_what_was_never_sent_is_ignored() -> None:
    sender = TcpSender(10, lambda _seq, _data, _ends: None)
    sender.opened(1000, 0, None)
    sender.write(b"abc")
    sender.send(0)
    assert not sender.acknowledge(15, 1000, has_data=False, now_us=1)
    assert sender.unacknowledged == 3
    assert sender.acknowledge(14, 1000, has_data=False, now_us=2)
    assert sender.unacknowledged == 0


def test_a_frozen_process_keeps_its_connections() -> None:
    computers = Computers()
    client, server = connected(computers)
    computers[2].pause()
    client.transport.write(b"while it is frozen")
    waiting = computers.start(1, connect(computers, 1, 2))
    computers.run(30)
    assert waiting.done()  # its kernel has accepted the connection
    assert client.transport.get_write_buffer_size() == 0
    assert computers[1].kernel.held_bytes() == 0  # and acknowledged the data
    assert server.received == b""
    computers[2].resume()
    computers.run(0.1)
    assert server.received == b"while it is frozen"


# --- time -----------------------------------------------------------------------------------------


def test_a_segment_leaves_at_the_end_of_its_callback() -> None:
    computers = Computers()
    client, _ = connected(computers)
    computers.segments.clear()

    def work() -> None:
        client.transport.write(b"x")
        computers[1].spend(5000)

    began = computers.engine.now
    computers[1].loop.call_soon(work)
    computers.run(0.1)
    assert computers.segments[0][0] >= began + 5000


def test_reading_and_writing_cost_time_by_size() -> None:
    def busy_us(size: int) -> list[int]:
        computers = Computers()
        client, _ = connected(computers)
        before = [host.loop.busy_us for host in computers.hosts]
        computers[1].loop.call_soon(client.transport.write, bytes(size))
        computers.run(1)
        return [host.loop.busy_us - us for host, us in zip(computers.hosts, before, strict=True)]

    small, large = busy_us(1), busy_us(100 * 1024 + 1)
    assert large[0] == small[0] + 40
    assert large[1] >= small[1] + 40
