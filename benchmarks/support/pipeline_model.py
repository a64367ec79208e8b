"""A model of the pipeline: three cores on simulated links and disks, to measure how long commands and reads wait.

Times are simulated µs, so the figures are the same on every machine. The model contains what a deep pipeline can slow
down. A link carries its messages one after the other. A disk makes one sync at a time, which takes all waiting writes
(as qcore's writer does) or a single append.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from qcore.core import Entry, Membership, RaftConfig
from qcore.core.effects import AppendLog, ReadReady
from qcore.core.events import Propose, ReadRequested
from qcore.core.messages import AppendEntries
from qcore.replica.events import Reply
from qcore.replica.messages import PeerMessage
from tests.driver.clock import Clock, Time
from tests.driver.cores import CoreDriver
from tests.driver.first_state import started
from tests.driver.network import Network
from tests.driver.observer import Node, Observer

MEMBERSHIP = Membership(voters=(1, 2, 3))
LEADER = 1
MESSAGE_OVERHEAD_BYTES = 100

#: The requests to the leader, with their times in µs, in order of time.
Load = Iterable[tuple[int, Propose | ReadRequested]]


@dataclass(slots=True, frozen=True)
class Hardware:
    """The speed of three equal computers and the links between them.

    Attributes:
        link_us: one-way delay of a link.
        link_bytes_per_s: bandwidth of a link.
        sync_us: time of one sync, without its bytes.
        disk_bytes_per_s: how fast a sync writes its bytes.
        shared_syncs: whether a sync takes all waiting writes, or a single append.
    """

    link_us: int = 250
    link_bytes_per_s: int = 125_000_000
    sync_us: int = 1000
    disk_bytes_per_s: int = 200_000_000
    shared_syncs: bool = True


@dataclass(slots=True)
class Latencies:
    """The latencies of all commands and reads in µs, in the order in which they completed."""

    commands: list[int]
    reads: list[int]
    appends: int = 0
    largest_window_bytes: int = 0
    ended_us: int = 0


class _Links(Network):
    """Links that carry their messages one after the other, each for some time."""

    def __init__(self, model: PipelineModel) -> None:
        super().__init__()
        self._model = model
        self._busy_until: dict[tuple[int, int], int] = {}

    def send(self, source: int, to: int, message: PeerMessage) -> None:
        model, hardware = self._model, self._model.hardware
        size = MESSAGE_OVERHEAD_BYTES
        if isinstance(message, AppendEntries):
            size += sum(entry.size_bytes() for entry in message.entries)
            if message.entries:
                model.append_sent(to)
        begins = max(model.now, self._busy_until.get((source, to), 0))
        ends = begins + size * 1_000_000 // hardware.link_bytes_per_s
        self._busy_until[source, to] = ends
        receiver = model.drivers[to]
        model.after(ends + hardware.link_us - model.now, lambda: receiver.receive(source, message))


class _Disks(Observer):
    """Disks that make one sync at a time."""

    def __init__(self, model: PipelineModel) -> None:
        self._model = model
        self._busy: set[int] = set()

    def executed(self, node: Node, effects: object) -> None:
        """Begin a sync if the step wrote something and none is in progress."""
        waiting = node.disk.pending
        if not waiting or node.node_id in self._busy:
            return
        self._busy.add(node.node_id)
        hardware = self._model.hardware
        count = len(waiting) if hardware.shared_syncs else 1
        size = sum(
            entry.size_bytes()
            for write in islice(waiting, count)
            if isinstance(write, AppendLog)
            for entry in write.entries
        )
        took = hardware.sync_us + size * 1_000_000 // hardware.disk_bytes_per_s
        self._model.after(took, partial(self._end, node.node_id, count))

    def _end(self, node_id: int, count: int) -> None:
        self._busy.remove(node_id)
        self._model.drivers[node_id].persist(count)

    def applied(self, node: Node, entry: Entry) -> None:
        if node.node_id == LEADER:
            self._model.command_applied(entry.index)

    def responded(self, node: Node, outcome: ReadReady | Reply) -> None:
        assert isinstance(outcome, ReadReady)
        self._model.read_served(outcome.read_id)


class PipelineModel:
    """A cluster that is led by server 1.

    Args:
        config: the configuration of every server; its windows are under test.
        hardware: the links and disks.
    """

    def __init__(self, config: RaftConfig, hardware: Hardware) -> None:
        self.hardware = hardware
        self.seen = Latencies([], [])
        self._time = Time()
        self._sequence = 0
        self._due: list[tuple[int, int, Callable[[], object]]] = []
        self._proposed: dict[int, int] = {}
        self._reads: dict[int, int] = {}
        self._open = 0
        network, observer = _Links(self), _Disks(self)
        self.drivers = {
            node: CoreDriver(
                replace(config, node_id=node),
                started(MEMBERSHIP),
                clock=Clock(self._time),
                network=network,
                observer=observer,
            )
            for node in MEMBERSHIP.voters
        }
        for driver in self.drivers.values():
            driver.start()
        self._leader = self.drivers[LEADER]
        self._leader.campaign()
        while self._leader.core.commit_index < 2:
            self._next()

    def run(self, load: Load) -> Latencies:
        """Send the requests of the load, and run until all have completed."""
        start = self.now
        for at, event in load:
            self._open += 1
            self.after(start + at - self.now, partial(self._request, event))
        self._tick()
        while self._open:
            self._next()
        self.seen.ended_us = self.now - start
        return self.seen

    # -- time ------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Simulated time, µs."""
        return self._time.now

    def after(self, delay_us: int, action: Callable[[], object]) -> None:
        """Run `action` in `delay_us` µs."""
        self._sequence += 1
        heapq.heappush(self._due, (self.now + delay_us, self._sequence, action))

    def _next(self) -> None:
        self._time.now, _, action = heapq.heappop(self._due)
        action()

    def _tick(self) -> None:
        self._leader.tick()
        assert self._leader.core.role == "leader", (
            "the leader must keep its leadership under the load"
        )
        self.after(max(1, self._leader.next_deadline() - self.now), self._tick)

    # -- events ----------------------------------------------------------------------------------

    def _request(self, event: Propose | ReadRequested) -> None:
        if isinstance(event, Propose):
            self._proposed[self._leader.core.last_log_index + 1] = self.now
        else:
            self._reads[event.read_id] = self.now
        self._leader.step(event)

    def command_applied(self, index: int) -> None:
        """The leader has applied the entry at this index."""
        if (proposed := self._proposed.pop(index, None)) is not None:
            self.seen.commands.append(self.now - proposed)
            self._open -= 1

    def read_served(self, read_id: int) -> None:
        """The read may be served."""
        self.seen.reads.append(self.now - self._reads.pop(read_id))
        self._open -= 1

    def append_sent(self, to: int) -> None:
        """The leader has sent entries to this follower."""
        self.seen.appends += 1
        window = self._leader.core.status().peers[to].inflight_bytes
        self.seen.largest_window_bytes = max(self.seen.largest_window_bytes, window)


def steady(per_s: int, size: int, seconds: float) -> Load:
    """Commands of `size` bytes at equal intervals."""
    text = "x" * size
    every = 1_000_000 // per_s
    return [(number * every, Propose([text], 0)) for number in range(int(per_s * seconds))]


def burst_and_reads(commands: int, size: int, reads: int, every_us: int) -> Load:
    """Many commands at the same time, and linearizable reads at equal intervals."""
    text = "x" * size
    load: list[tuple[int, Propose | ReadRequested]] = [
        (0, Propose([text], 0)) for _ in range(commands)
    ]
    load += [((number + 1) * every_us, ReadRequested(number)) for number in range(reads)]
    return load
