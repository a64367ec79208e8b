"""The watchers of a simulated cluster: clients that watch a topic at some node, and resume at another one.

A watcher loses its connection when the node's process dies, when a message is lost, or when it hears nothing for a
while. Some also move by themselves. Each time it resumes after the last change that it saw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final

from qcore.errors import OutcomeUnknown, QcoreError, WatchCompacted, WatchOverflow
from qcore.sim.invariants.watch_checker import WatchChecker, WatcherLog
from qcore.sim.scenario.specs.watcher_spec import WatcherSpec
from qcore.sim.scenario.values import microseconds
from qcore.sim.workload.watcher_messages import (
    CloseWatch,
    ConnectionReset,
    FromNode,
    OpenWatch,
    Probe,
    ProbeAnswer,
    ToNode,
    WatchBegun,
    WatchFailed,
    WatchNotice,
)
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.network import Link, Network
from qcore.trace import TraceWriter

_RETRY_PAUSE_US: Final = 10_000
_PROBE_EVERY_US: Final = 200_000
#: Without a sign of life for this long, the connection counts as broken.
_SILENCE_US: Final = 600_000


class SimWatcher:
    """One watcher: a vertex of the network, with links to and from the nodes.

    Args:
        log: what it watches and what it has seen.
        spec: when it moves.
        timeout_ms: how long a watch may take to begin.
        nodes: the nodes that it may connect to.
        stop_us: from then on it no longer moves by itself.
        rng: draws nodes and times.
        checker: learns what the watcher receives.
        acknowledged: the highest index of a write that clients know to have succeeded.

    Attributes:
        vertex: its place in the network.
        transmit: sends a message to a node; by default over the link.
    """

    def __init__(
        self,
        log: WatcherLog,
        spec: WatcherSpec,
        timeout_ms: int,
        engine: Engine,
        network: Network,
        nodes: Sequence[int],
        stop_us: int,
        trace: TraceWriter,
        rng: Random,
        checker: WatchChecker,
        acknowledged: Callable[[], int],
    ) -> None:
        self.log = log
        self.vertex = -log.watcher
        self._spec = spec
        self._timeout_ms = timeout_ms
        self._engine = engine
        self._network = network
        self._nodes = list(nodes)
        self._stop_us = stop_us
        self._trace = trace
        self._rng = rng
        self._checker = checker
        self._acknowledged = acknowledged
        self._links: dict[int, Link] = {}
        self._connection = 0  # the number of the newest one
        self._open = False
        self._begun = False
        self._node = 0
        self._received = 0
        self._begun_us = 0
        self._heard_us = 0
        self._known_index = 0
        self.transmit: Callable[[int, ToNode], None] = self._send_on_link

    def attach(self) -> None:
        """Record the watcher's links, once all of them exist."""
        self._links = self._network.links_from(self.vertex)

    def start(self) -> None:
        """Begin to watch."""
        self._connect()
        if self._spec.move_every_ms:
            self._plan_move()

    def receive(self, source: int, message: object, _message_id: str) -> None:
        """Receive a message of a node."""
        assert isinstance(message, FromNode)
        is_reset = isinstance(message.content, ConnectionReset)
        if not self._open or message.connection != self._connection:
            if not is_reset:  # the system answers for a connection that is closed
                self.transmit(source, CloseWatch(message.connection))
            return
        if is_reset:
            self._lose("connection refused" if not self._begun else "connection lost")
            return
        if message.number <= self._received:
            return  # a copy
        if message.number > self._received + 1:
            self._lose("a message was lost")
            return
        self._received += 1
        self._heard_us = self._engine.now
        match message.content:
            case WatchBegun(start):
                self._begun, self._begun_us = True, self._engine.now
                after = self.log.position
                self._checker.began(self.log, source, after, start, self._known_index)
                self._record("ok", start)
            case WatchNotice(at, body):
                self._record("notice", at, body)
                self._checker.notice(self.log, source, at, body)
            case WatchFailed(error):
                self._failed(source, error)
            case ProbeAnswer(sent_us) if self._begun:
                self._checker.answered(self.log, source, self._begun_us, sent_us)

    # -- connections ------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._connection += 1
        self._open, self._begun, self._received = True, False, 0
        self._node = self._rng.choice(self._nodes)
        self._heard_us = self._engine.now
        self._known_index = max(self._acknowledged(), self._checker.seen_index)
        log = self.log
        self._record("invoke", log.position or (0, 0))
        request = OpenWatch(self._connection, log.request, log.position, self._timeout_ms)
        self.transmit(self._node, request)
        self._engine.after(_PROBE_EVERY_US, partial(self._probe, self._connection))
        self._engine.after(self._timeout_ms * 1000, partial(self._on_timeout, self._connection))

    def _on_timeout(self, connection: int) -> None:
        if self._open and connection == self._connection and not self._begun:
            self._lose("timeout")

    def _probe(self, connection: int) -> None:
        if not self._open or connection != self._connection:
            return
        if self._engine.now - self._heard_us >= _SILENCE_US:
            self._lose("silence")
            return
        self.transmit(self._node, Probe(connection))
        self._engine.after(_PROBE_EVERY_US, partial(self._probe, connection))

    def _lose(self, why: str) -> None:
        self._leave(why)
        self._engine.after(_RETRY_PAUSE_US, self._connect)

    def _leave(self, why: str) -> None:
        self._record("ended", self.log.position or (0, 0), why)
        self._open = False
        self.log.node = 0
        self.transmit(self._node, CloseWatch(self._connection))

    def _failed(self, node: int, error: QcoreError) -> None:
        if isinstance(error, WatchCompacted):
            self._checker.compacted(self.log, node, error.first_index)
        elif not (error.retryable or isinstance(error, WatchOverflow | OutcomeUnknown)):
            self.log.refusal = f"{error.code}: {error}"
            self._leave(error.code)
            return
        self._lose(error.code)

    # -- moves ------------------------------------------------------------------------------------

    def _plan_move(self) -> None:
        gap_us = self._rng.expovariate(1.0) * microseconds(self._spec.move_every_ms)
        due = self._engine.now + 1 + int(gap_us)
        if due < self._stop_us:
            self._engine.at(due, self._move)

    def _move(self) -> None:
        away_us = int(self._rng.random() * 2 * microseconds(self._spec.away_ms))
        self._plan_move()
        if self._open:
            self._leave("moves")
            self._engine.after(1 + away_us, self._connect)

    def _send_on_link(self, node: int, message: ToNode) -> None:
        self._network.send(self._links[node], message, "")

    def _record(self, phase: str, at: tuple[int, int], note: str = "") -> None:
        log = self.log
        self._trace.watch(
            self._engine.now, self._node, phase, log.watcher, log.topic, at[0], at[1], note
        )
