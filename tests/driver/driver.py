"""`Driver`: one node. It steps a server, executes every effect, and survives a crash with what is durable."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeAlias, TypeVar, cast

from qcore.core import DurableState, RaftCore
from qcore.core.effects import (
    AppendLog,
    Effect,
    SaveCommit,
    SaveHardState,
    Send,
    StoreSnapshot,
    TruncateLog,
)
from qcore.core.events import Campaign, MessageReceived, Tick, WriteDurable
from qcore.core.raft_server import NEVER
from qcore.replica.durability_gate import DurabilityGate
from qcore.replica.events import ReplicaEffect
from qcore.replica.messages import PeerMessage
from tests.driver.clock import Clock
from tests.driver.disk import Disk
from tests.driver.network import Network
from tests.driver.observer import Observer

ServerT = TypeVar("ServerT")
EventT = TypeVar("EventT")
EffectT = TypeVar("EffectT", bound=Effect | ReplicaEffect)

#: The events that a driver itself makes, for a core and for a replica.
DriverEvent: TypeAlias = MessageReceived | WriteDurable | Tick | Campaign


class Driver(ABC, Generic[ServerT, EventT, EffectT]):
    """Drives one server over all its lives. A subclass says how to start and to step it.

    Args:
        node_id: its node.
        durable: what its disk holds at the start.
        clock: its clocks.
        network: where its messages go.
        observer: sees what it does.
        seed: with the node and the life it decides the server's random numbers.
        instant_disk: make every write durable right after the step that makes it, unless `stalled`. Otherwise writes
            wait for `persist`.

    Attributes:
        stalled: nothing becomes durable by itself; only `persist` makes it so.
        life: how often the node has started.
    """

    def __init__(
        self,
        node_id: int,
        durable: DurableState,
        *,
        clock: Clock,
        network: Network,
        observer: Observer,
        seed: int = 0,
        instant_disk: bool = False,
    ) -> None:
        self.node_id = node_id
        self.disk = Disk(durable)
        self.clock = clock
        self.stalled = False
        self.life = 0
        self._network = network
        self._observer = observer
        self._seed = seed
        self._instant_disk = instant_disk
        self._gate = DurabilityGate()
        self._server: ServerT | None = None

    # -- what a core and a replica do differently ------------------------------------------------

    @abstractmethod
    def _start(self, durable: DurableState, rng: random.Random) -> tuple[ServerT, list[EffectT]]:
        """A new server with this state, and the effects to execute before its first event."""

    @abstractmethod
    def _step(self, events: Sequence[EventT | DriverEvent]) -> list[EffectT]:
        """Step the server."""

    @abstractmethod
    def _execute_other(self, effect: EffectT) -> None:
        """Execute an effect that is neither a write nor a message."""

    @property
    @abstractmethod
    def core(self) -> RaftCore:
        """The core of the server."""

    @abstractmethod
    def next_deadline(self) -> int:
        """When the node must tick at the latest, µs on its monotonic clock."""

    # -- state -----------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        return self._server is not None

    @property
    def up(self) -> ServerT:
        """The server, of a node that is up."""
        assert self._server is not None, f"node {self.node_id} is down"
        return self._server

    @property
    def now(self) -> int:
        """The node's monotonic clock, µs. A test may set it."""
        return self.clock.now

    @now.setter
    def now(self, local_us: int) -> None:
        self.clock.now = local_us

    def true_deadline(self) -> int:
        """The next deadline, in true time."""
        return self.clock.true_time(self.next_deadline())

    # -- steps -----------------------------------------------------------------------------------

    def step(self, *events: EventT | DriverEvent) -> list[EffectT]:
        """Step the server and execute the effects. Returns the effects of this step."""
        self._observer.before_step(self)
        effects = self._step(events)
        self._execute(effects)
        self._observer.executed(self, effects)
        if self._instant_disk and not self.stalled:
            self.persist()
        return effects

    def receive(self, source: int, message: PeerMessage) -> list[EffectT]:
        """A message arrives."""
        return self.step(MessageReceived(source, message))

    def tick(self) -> list[EffectT]:
        """Tick, whatever the clock shows."""
        return self.step(Tick())

    def timeout(self) -> list[EffectT]:
        """The monotonic clock passes the next deadline."""
        deadline = self.next_deadline()
        if deadline < NEVER:
            self.now = max(self.now, deadline)
        return self.tick()

    def campaign(self) -> list[EffectT]:
        return self.step(Campaign())

    def _execute(self, effects: list[EffectT]) -> None:
        """Execute the effects of one step, in their order."""
        self._observer.stepped(self, effects)
        for effect in effects:
            match effect:
                case AppendLog() | SaveHardState() | TruncateLog() | StoreSnapshot():
                    self.disk.submit(effect)
                case SaveCommit(commit=commit):
                    self.disk.save_commit(commit)
                case Send():
                    if self._gate.admit(effect):
                        self._transmit(effect)
                case _:
                    self._execute_other(effect)

    def _transmit(self, send: Send) -> None:
        self._observer.sent(self, send)
        self._network.send(self.node_id, send.to, cast(PeerMessage, send.message))

    # -- the disk and crashes --------------------------------------------------------------------

    def persist(self, count: int | None = None) -> list[EffectT]:
        """Make the oldest `count` waiting writes durable (all by default), and report that to the server.

        Messages that waited for them leave first.
        """
        write_id = self.disk.sync(count)
        if write_id is None:
            return []
        for send in self._gate.release(write_id):
            self._transmit(send)
        return self.step(WriteDurable(write_id))

    def crash(self, survive: int = 0) -> None:
        """Lose memory, messages that wait, and all waiting writes except the oldest `survive`."""
        self._server = None
        self._gate = DurabilityGate()
        self.disk.crash(survive)
        self._observer.crashed(self)

    def start(self) -> list[EffectT]:
        """Start from what the disk holds. Returns the first effects, which are executed."""
        assert not self.is_up, f"node {self.node_id} is up"
        self.life += 1
        rng = random.Random(f"{self._seed}/{self.node_id}/{self.life}")
        self._server, effects = self._start(self.disk.load(), rng)
        self._execute(effects)
        self._observer.started(self)
        if self._instant_disk and not self.stalled:
            self.persist()
        return effects


#: A driver of cores or of replicas. Any: no other type covers both, because `_execute` takes what `step` returns.
AnyDriver: TypeAlias = Driver[Any, Any, Any]
