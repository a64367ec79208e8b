"""A model of the pipeline: three cores on simulated links and disks, to measure how long commands and reads wait.

Times are simulated µs, so the figures are the same on every machine. The model contains what a deep pipeline can slow
down. A link carries its messages one after the other. A disk makes one sync at a time, which takes all waiting writes
(as qcore's writer does) or a single append.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from qcore.core import DurableState, Entry, HardState, Membership, RaftConfig, RaftCore
from qcore.core.effects import AppendLog, Apply, Effect, ReadReady, SaveHardState, Send
from qcore.core.events import (
    Campaign,
    Event,
    MessageReceived,
    Propose,
    ReadRequested,
    Tick,
    WriteDurable,
)
from qcore.core.messages import AppendEntries, RaftMessage

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


class _Disk:
    """The disk of one server. It makes one sync at a time."""

    def __init__(self, model: PipelineModel, node_id: int) -> None:
        self._model = model
        self._node_id = node_id
        self._waiting: deque[tuple[int, int]] = deque()  # (last write id, bytes) of each append
        self._busy = False
        self.durable = 0

    def write(self, write_id: int, size: int) -> None:
        self._waiting.append((write_id, size))
        if not self._busy:
            self._sync()

    def _sync(self) -> None:
        hardware = self._model.hardware
        taken = list(self._waiting) if hardware.shared_syncs else [self._waiting[0]]
        for _ in taken:
            self._waiting.popleft()
        self._busy = True
        size = sum(one[1] for one in taken)
        took = hardware.sync_us + size * 1_000_000 // hardware.disk_bytes_per_s
        self._model.after(took, lambda: self._ended(taken[-1][0]))

    def _ended(self, write_id: int) -> None:
        self.durable = write_id
        self._busy = False
        if self._waiting:
            self._sync()
        self._model.synced(self._node_id, write_id)


class PipelineModel:
    """A cluster that is led by server 1.

    Args:
        config: the configuration of every server; its windows are under test.
        hardware: the links and disks.
    """

    def __init__(self, config: RaftConfig, hardware: Hardware) -> None:
        self.hardware = hardware
        self.now = 0
        self._sequence = 0
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._disks = {node: _Disk(self, node) for node in MEMBERSHIP.voters}
        self._held: dict[int, list[Send]] = {node: [] for node in MEMBERSHIP.voters}
        self._busy_until = {(a, b): 0 for a in MEMBERSHIP.voters for b in MEMBERSHIP.voters}
        self._proposed: dict[int, int] = {}
        self._reads: dict[int, int] = {}
        self._open = 0
        self.seen = Latencies([], [])
        first = Entry(1, 1, "membership", MEMBERSHIP.to_json(), 0)
        self._cores = {
            node: RaftCore(
                replace(config, node_id=node),
                DurableState(HardState(1, None, 0), None, [first]),
                rng=random.Random(node),
                now=0,
            )
            for node in MEMBERSHIP.voters
        }
        for core in self._cores.values():
            core.initial_effects()
        self._step(LEADER, Campaign())
        while self._cores[LEADER].commit_index < 2:
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

    def after(self, delay_us: int, action: Callable[[], None]) -> None:
        """Run `action` in `delay_us` µs."""
        self._sequence += 1
        heapq.heappush(self._due, (self.now + delay_us, self._sequence, action))

    def _next(self) -> None:
        self.now, _, action = heapq.heappop(self._due)
        action()

    def _tick(self) -> None:
        self._step(LEADER, Tick())
        assert self._cores[LEADER].role == "leader", (
            "the leader must keep its leadership under the load"
        )
        self.after(max(1, self._cores[LEADER].next_deadline() - self.now), self._tick)

    # -- events ----------------------------------------------------------------------------------

    def _request(self, event: Propose | ReadRequested) -> None:
        if isinstance(event, Propose):
            self._proposed[self._cores[LEADER].last_log_index + 1] = self.now
        else:
            self._reads[event.read_id] = self.now
        self._step(LEADER, event)

    def synced(self, node_id: int, write_id: int) -> None:
        """Send the messages that waited for this durable write, and report it to the core."""
        ready = [send for send in self._held[node_id] if send.after <= write_id]
        self._held[node_id] = [send for send in self._held[node_id] if send.after > write_id]
        for send in ready:
            self._send(node_id, send.to, send.message)
        self._step(node_id, WriteDurable(write_id))

    def _step(self, node_id: int, event: Event) -> None:
        effects = self._cores[node_id].step(event, self.now)
        for effect in effects:
            self._execute_effect(node_id, effect)

    def _execute_effect(self, node_id: int, effect: Effect) -> None:
        match effect:
            case AppendLog(write_id=write_id, entries=entries):
                self._disks[node_id].write(write_id, sum(e.size_bytes() for e in entries))
            case SaveHardState(write_id=write_id):
                self._disks[node_id].write(write_id, 0)
            case Send(after=after) if after > self._disks[node_id].durable:
                self._held[node_id].append(effect)
            case Send(to=to, message=message):
                self._send(node_id, to, message)
            case Apply(entries=entries) if node_id == LEADER:
                for entry in entries:
                    if (proposed := self._proposed.pop(entry.index, None)) is not None:
                        self.seen.commands.append(self.now - proposed)
                        self._open -= 1
            case ReadReady(read_id=read_id):
                self.seen.reads.append(self.now - self._reads.pop(read_id))
                self._open -= 1
            case _:
                pass

    def _send(self, source: int, to: int, message: RaftMessage) -> None:
        size = MESSAGE_OVERHEAD_BYTES
        if isinstance(message, AppendEntries):
            size += sum(entry.size_bytes() for entry in message.entries)
            if message.entries:
                self.seen.appends += 1
                window = self._cores[LEADER].status().peers[to].inflight_bytes
                self.seen.largest_window_bytes = max(self.seen.largest_window_bytes, window)
        begins = max(self.now, self._busy_until[source, to])
        ends = begins + size * 1_000_000 // self.hardware.link_bytes_per_s
        self._busy_until[source, to] = ends
        arrives = ends + self.hardware.link_us - self.now
        self.after(arrives, lambda: self._step(to, MessageReceived(source, message)))


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
