"""Clusters of pure cores. Each drives a toy state machine, whose state is one digest of all that it applied."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from qcore.core import DurableState, Entry, Membership, RaftConfig, RaftCore
from qcore.core.effects import Apply, Effect, ReadReady, RestoreMachine
from qcore.core.events import Event, Propose, ReadRequested, SnapshotTaken
from tests.core.support.safety_checks import Safety, chain
from tests.driver.clock import Clock
from tests.driver.cluster import Cluster
from tests.driver.driver import Driver, DriverEvent
from tests.driver.first_state import begun
from tests.driver.network import Network
from tests.driver.observer import Node, Observer
from tests.driver.safety_observer import SafetyObserver


@dataclass(slots=True)
class ToyMachine:
    """A state machine: the index of the last entry that it applied, and a digest of all of them."""

    index: int = 0
    digest: int = 0

    def apply(self, entry: Entry) -> None:
        assert entry.index == self.index + 1, "applied out of order"
        self.index = entry.index
        self.digest = chain(self.digest, entry)

    def snapshot(self) -> str:
        return f"{self.index}:{self.digest:010}"  # the same length for every state

    def restore(self, data: str) -> None:
        index, digest = data.split(":")
        self.index, self.digest = int(index), int(digest)


class CoreDriver(Driver[RaftCore, Event, Effect]):
    """Drives one core.

    Attributes:
        config: settings; a test may change them while the node is down.
        machine: its state machine.
        reads_ready: the reads that it may serve, over all its lives.
    """

    def __init__(
        self,
        config: RaftConfig,
        durable: DurableState,
        *,
        clock: Clock,
        network: Network,
        observer: Observer,
        seed: int = 0,
    ) -> None:
        super().__init__(
            config.node_id, durable, clock=clock, network=network, observer=observer, seed=seed
        )
        self.config = config
        self.machine = ToyMachine()
        self.reads_ready: list[ReadReady] = []
        self._last_read = 0

    @property
    def core(self) -> RaftCore:
        return self.up

    def next_deadline(self) -> int:
        return self.up.next_deadline()

    def propose(self, *commands: str) -> list[Effect]:
        return self.step(Propose(list(commands), self.now))

    def new_read_id(self) -> int:
        self._last_read += 1
        return self._last_read

    def take_snapshot(self, keep_entries: int = 0) -> list[Effect]:
        """Take a snapshot of the state machine."""
        return self.step(SnapshotTaken(self.machine.index, self.machine.snapshot(), keep_entries))

    def _start(self, durable: DurableState, rng: random.Random) -> tuple[RaftCore, list[Effect]]:
        self.machine = ToyMachine()
        if durable.snapshot is not None:
            self._restore(str(durable.snapshot.data))
        core = RaftCore(self.config, durable, rng=rng, now=self.now)
        return core, core.initial_effects()

    def _step(self, events: Sequence[Event | DriverEvent]) -> list[Effect]:
        now, wall_us = self.clock.now, self.clock.wall_us
        effects: list[Effect] = []
        for event in events:
            effects += self.up.step(event, now, wall_us)
        return effects

    def _execute_other(self, effect: Effect) -> None:
        match effect:
            case Apply(entries=entries):
                for entry in entries:
                    self.machine.apply(entry)
                    self._observer.applied(self, entry)
            case RestoreMachine(snapshot=snapshot):
                self._restore(str(snapshot.data))
            case ReadReady():
                assert effect.index <= self.machine.index, "served before it was applied"
                self.reads_ready.append(effect)
                self._observer.responded(self, effect)
            case _:
                pass  # for traces

    def _restore(self, data: str) -> None:
        self.machine.restore(data)
        self._observer.restored(self)


class CoreObserver(SafetyObserver):
    """Also requires that all state machines agree at each index."""

    def applied(self, node: Node, entry: Entry) -> None:
        self.restored(node)

    def restored(self, node: Node) -> None:
        assert isinstance(node, CoreDriver)
        if self.safety:
            self.safety.applied(node.node_id, node.machine.index, node.machine.digest)


class CoreCluster(Cluster[CoreDriver]):
    """Cores, their disks and the messages between them. Writes wait until a test makes them durable.

    Args:
        durable: by node id, what each server's storage holds at the start.
        settings: passed to each `RaftConfig`.
        seed: of the generators that draw the election timeouts.
        check_safety: let `Safety` check every step; False to examine a core without it.
        priorities: by node id, where they differ from the settings'.
        observer: sees every step; by default one that only runs `Safety`.
    """

    def __init__(
        self,
        durable: Mapping[int, DurableState],
        settings: RaftConfig | None = None,
        *,
        seed: int = 0,
        check_safety: bool = True,
        priorities: Mapping[int, int] | None = None,
        observer: CoreObserver | None = None,
    ) -> None:
        super().__init__()
        settings = settings or RaftConfig(node_id=1)
        self.observer = observer or CoreObserver(Safety() if check_safety else None)
        for node_id, state in durable.items():
            priority = (priorities or {}).get(node_id, settings.priority)
            self.drivers[node_id] = CoreDriver(
                replace(settings, node_id=node_id, priority=priority),
                state,
                clock=Clock(self.time),
                network=self.network,
                observer=self.observer,
                seed=seed,
            )
        for driver in self.drivers.values():
            driver.start()

    @classmethod
    def of(
        cls,
        size: int,
        settings: RaftConfig | None = None,
        *,
        seed: int = 0,
        check_safety: bool = True,
        rules: int = 1,
    ) -> Self:
        """A cluster of voters 1 to `size` whose logs hold the configuration and, if above 1, the apply rules."""
        membership = Membership(voters=tuple(range(1, size + 1)))
        durable = {node_id: begun(membership, rules, "m") for node_id in membership.voters}
        return cls(durable, settings, seed=seed, check_safety=check_safety)

    @property
    def safety(self) -> Safety | None:
        """The checks of every step."""
        return self.observer.safety

    @safety.setter
    def safety(self, safety: Safety | None) -> None:
        self.observer.safety = safety

    # -- one node --------------------------------------------------------------------------------

    def step(self, node_id: int, *events: Event) -> list[Effect]:
        return self.drivers[node_id].step(*events)

    def propose(self, node_id: int, *commands: str) -> list[Effect]:
        return self.drivers[node_id].propose(*commands)

    def campaign(self, node_id: int) -> list[Effect]:
        return self.drivers[node_id].campaign()

    def tick(self, node_id: int) -> list[Effect]:
        return self.drivers[node_id].tick()

    def timeout(self, node_id: int) -> list[Effect]:
        return self.drivers[node_id].timeout()

    def persist(self, node_id: int, count: int | None = None) -> list[Effect]:
        return self.drivers[node_id].persist(count)

    def crash(self, node_id: int, survive: int = 0) -> None:
        self.drivers[node_id].crash(survive)

    def take_snapshot(self, node_id: int, keep_entries: int = 0) -> list[Effect]:
        return self.drivers[node_id].take_snapshot(keep_entries)

    def read(self, node_id: int, *, lease: bool = False) -> int:
        """Request a linearizable read; returns its id."""
        driver = self.drivers[node_id]
        read_id = driver.new_read_id()
        if self.safety:
            self.safety.read_requested(node_id, driver.life, read_id)
        driver.step(ReadRequested(read_id, lease))
        return read_id
