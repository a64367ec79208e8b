"""Whatever the links do, a process receives what the other one sent, in order; and all of it once they are repaired."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.sim.scenario.distributions import uniform
from qcore.sim.world.network import LinkQuality
from tests.sim.support.computers import Computers, connected

#: Longer than the longest pause between two repetitions.
REPAIRED_S = 150


@dataclass(frozen=True)
class Step:
    """Something that happens `after_s` after the previous one, to one of the two ends."""

    after_s: float
    kind: str
    end: int
    size: int


QUALITIES = st.builds(
    lambda loss, duplicate, reorder, corrupt, latency_ms, bandwidth, queue: LinkQuality(
        latency=uniform(0.1, latency_ms),
        loss=loss,
        duplicate=duplicate,
        reorder=reorder,
        reorder_extra=uniform(0, 30),
        corrupt=corrupt,
        bandwidth_bytes_per_s=bandwidth,
        queue_length=queue if bandwidth else None,
    ),
    st.sampled_from([0.0, 0.02, 0.2]),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([1.0, 20.0, 200.0]),
    st.sampled_from([None, 200_000, 20_000_000]),
    st.sampled_from([None, 3, 20]),
)
STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from([0.0, 0.001, 0.1, 1.0]),
        st.sampled_from(
            ["write", "write", "write", "cut", "heal", "stop reading", "read", "freeze", "thaw"]
        ),
        st.sampled_from([0, 1]),
        st.sampled_from([1, 700, 8948, 8949, 70_000, 400_000]),
    ),
    max_size=12,
)


def content(end: int, first: int, size: int) -> bytes:
    """A part of a stream in which every eight bytes are different."""
    whole = b"".join(
        (number * 2 + end).to_bytes(8, "big")
        for number in range(first // 8, (first + size) // 8 + 1)
    )
    return whole[first % 8 : first % 8 + size]


class Streams:
    """Two connected processes, and what each has written."""

    def __init__(self, computers: Computers) -> None:
        self.computers = computers
        self.ends = connected(computers)
        self.written = [bytearray(), bytearray()]

    def take(self, step: Step) -> None:
        computers, recorder = self.computers, self.ends[step.end]
        host = computers[step.end + 1]
        computers.run(step.after_s)
        match step.kind:
            case "write" if not host.paused:
                data = content(step.end, len(self.written[step.end]), step.size)
                self.written[step.end] += data
                recorder.transport.write(data)
            case "cut":
                computers.cut(1, 2)
            case "heal":
                computers.heal()
            case "stop reading":
                recorder.transport.pause_reading()
            case "read":
                recorder.transport.resume_reading()
            case "freeze":
                host.pause()
            case "thaw":
                host.resume()

    def repair(self) -> None:
        """End everything that disturbs, and wait."""
        self.computers.heal()
        self.computers.set_quality(LinkQuality())
        for vertex, recorder in enumerate(self.ends, 1):
            self.computers[vertex].resume()
            recorder.transport.resume_reading()
        self.computers.run(REPAIRED_S)

    def received_by(self, end: int) -> bytearray:
        return self.ends[end].received

    def check_prefix(self) -> None:
        for end in (0, 1):
            received = self.received_by(1 - end)
            assert received == self.written[end][: len(received)]


@given(QUALITIES, QUALITIES, STEPS, st.integers(0, 1 << 32))
@settings(max_examples=1000)
def test_every_stream_arrives_in_order_and_at_last_whole(
    there: LinkQuality, back: LinkQuality, steps: list[Step], seed: int
) -> None:
    computers = Computers(seed=seed)
    streams = Streams(computers)
    computers.network.link(1, 2).set_quality(there)
    computers.network.link(2, 1).set_quality(back)
    for step in steps:
        streams.take(step)
        streams.check_prefix()
    streams.repair()
    for end in (0, 1):
        assert streams.received_by(1 - end) == streams.written[end]
        assert not streams.ends[end].lost
    assert computers[1].kernel.held_bytes() == computers[2].kernel.held_bytes() == 0
    assert computers.errors == []


@given(QUALITIES, STEPS, st.integers(0, 1 << 32), st.sampled_from(["kill", "power_off", "close"]))
@settings(max_examples=500)
def test_a_connection_that_ends_delivers_a_prefix(
    quality: LinkQuality, steps: list[Step], seed: int, how: str
) -> None:
    computers = Computers(seed=seed)
    streams = Streams(computers)
    computers.set_quality(quality)
    for step in steps:
        streams.take(step)
    closer = streams.ends[0]
    if how == "kill":
        computers[1].kill()
    elif how == "power_off":
        computers[1].power_off()
        computers[1].power_on()
    else:
        computers[1].resume()
        closer.transport.close()
    streams.ends[1].transport.write(content(1, len(streams.written[1]), 10))
    streams.written[1] += content(1, len(streams.written[1]), 10)
    computers[2].resume()
    computers.heal()
    computers.set_quality(LinkQuality())
    streams.ends[1].transport.resume_reading()
    computers.run(1000)
    streams.check_prefix()
    assert streams.ends[1].lost, "the other end learns of it, because it has sent something"
    assert computers[1].kernel.endpoints == computers[2].kernel.endpoints == []
