"""Timeline actions on machines: crashes, restarts, pauses, bad disks, wrong clocks, and directed steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random

from qcore.core.events import Campaign as CampaignEvent
from qcore.replica.events import ReplicaEvent
from qcore.replica.events import TakeSnapshot as TakeSnapshotEvent
from qcore.sim.clients import Client, ReadMix
from qcore.sim.ledger import Fault
from qcore.sim.node import SimNode
from qcore.sim.operations import ClientOp
from qcore.sim.scenario.actions import (
    Campaign,
    Clock,
    Crash,
    DiskRecover,
    DiskSlow,
    DiskStall,
    Operation,
    Pause,
    PowerLoss,
    Restart,
    Resume,
    TakeSnapshot,
    Wipe,
)
from qcore.sim.scenario.admin_actions import Join
from qcore.sim.scenario.cluster import ClusterSpec
from qcore.sim.scenario.settings import NO_SETTINGS, NodeSettings
from qcore.sim.scenario.values import microseconds
from qcore.sim.selection import Namer, NotYet
from qcore.sim.services import Services
from qcore.sim.streams import Streams

#: Takes the effect of an action back.
Undo = Callable[[], object]


@dataclass(slots=True, frozen=True)
class Asked:
    """One operation that the timeline had sent, for the expectations: the item's name, and what it says."""

    name: str
    action: Operation
    op: ClientOp


class NodeActions:
    """Strikes and repairs nodes, and keeps the trace informed.

    Args:
        services: the shared parts of the run.
        namer: resolves symbolic names.
        nodes: the simulated servers.
        director: the client that sends the operations of the timeline.
        streams: for the extra latencies of slow disks.
        cluster: the settings that nodes have unless a restart changed them.

    Attributes:
        asked: the operations of the timeline, in the order in which they began.
    """

    def __init__(
        self,
        services: Services,
        namer: Namer,
        nodes: Mapping[int, SimNode],
        director: Client,
        streams: Streams,
        cluster: ClusterSpec,
    ) -> None:
        self._services = services
        self._engine = services.engine
        self._trace = services.trace
        self._namer = namer
        self._nodes = nodes
        self._director = director
        self._streams = streams
        self._struck: dict[int, list[Fault]] = {}  # node -> faults that stopped or paused it
        self._bad_disks: dict[int, list[Fault]] = {}
        self._values = 0
        self._cluster = cluster
        self._settings: dict[int, NodeSettings] = {}  # what restarts changed
        self.asked: list[Asked] = []

    # -- crash, power loss, restart --------------------------------------------------------------

    def crash(self, action: Crash | PowerLoss, fault: Fault, rng: Random) -> Undo:
        ids = self._namer.resolve(action.nodes, rng, among=self._up())
        for node in ids:
            if self._nodes[node].up:
                self._give(node, action.settings)
            if isinstance(action, PowerLoss):
                survivors = _survivors(action, self._nodes[node].disk.handed_over, rng)
                self._stop(node, fault, power_loss=True, survivors=survivors)
            else:
                self._stop(node, fault)
        return lambda: self._start(ids)

    def wipe(self, action: Wipe, fault: Fault, rng: Random) -> Undo:
        """End the process, if it runs, and blank the disk; a node that is down loses its disk all the same."""
        ids = self._namer.resolve(action.nodes, rng)
        for node in ids:
            self._give(node, action.settings)
            lost = self._nodes[node].wipe()
            fault.acted += 1
            self._struck.setdefault(node, []).append(fault)
            note = f"wiped; {lost} unsynced writes lost"
            self._trace.fault(self._engine.now, "begin", fault.name, [node], [], note)
        return lambda: self._start(ids)

    def _up(self) -> list[int]:
        return [node for node, machine in self._nodes.items() if machine.up]

    def _running(self) -> list[int]:
        return [node for node, machine in self._nodes.items() if machine.up and not machine.paused]

    def restart(self, action: Restart, fault: Fault, rng: Random) -> None:
        down = [node for node, machine in self._nodes.items() if not machine.up]
        ids = self._namer.meant(action.nodes, rng, down)
        stopped = [node for node in ids if node in down]
        if stopped:
            fault.acted += self._start(tuple(stopped), action.settings)
            return
        for node in ids:
            self._stop(node, fault)
            # At once: another item may start the node before `down_ms` is over.
            self._give(node, action.settings)
        self._engine.after(microseconds(action.down_ms), lambda: self._start(ids))

    def _stop(
        self, node: int, fault: Fault, *, power_loss: bool = False, survivors: int = 0
    ) -> None:
        machine = self._nodes[node]
        if not machine.up:
            return
        lost = machine.crash(power_loss=power_loss, survivors=survivors)
        fault.acted += 1
        self._struck.setdefault(node, []).append(fault)
        note = f"{lost} unsynced writes lost"
        if survivors:
            note += f", {survivors} survived"
        self._trace.fault(self._engine.now, "begin", fault.name, [node], [], note)

    def _start(self, ids: tuple[int, ...], settings: NodeSettings | None = None) -> int:
        """Start those that are down, with `settings` changed; returns how many that were."""
        down = [node for node in ids if not self._nodes[node].up]
        for node in down:
            self._over(node)
            self._give(node, settings)
            self._nodes[node].start()
        return len(down)

    def _give(self, node: int, settings: NodeSettings | None) -> None:
        """Change a node's settings for its next start.

        Raises:
            ConfigError: they do not go with those that it was given before.
        """
        if settings is not None:
            changed = self._settings.get(node, NO_SETTINGS).changed(settings)
            self._settings[node] = changed
            self._nodes[node].reconfigure(self._cluster.replica_config(node, changed))

    def _over(self, node: int) -> None:
        for cause in self._struck.pop(node, []):
            self._trace.fault(self._engine.now, "end", cause.name, [node])

    def join(self, action: Join, fault: Fault) -> None:
        """Start pristine nodes: one that has run before is stopped, and gets a blank disk."""
        for node in action.ids:
            machine = self._nodes[node]
            if machine.up:
                self._stop(node, fault, power_loss=False)
            self._over(node)
            machine.wipe()
            fault.acted += 1
            self._trace.fault(self._engine.now, "act", fault.name, [node])
            machine.start()

    # -- pause, resume ---------------------------------------------------------------------------

    def pause(self, action: Pause, fault: Fault, rng: Random) -> Undo:
        ids = self._namer.resolve(action.nodes, rng, among=self._running())
        for node in ids:
            machine = self._nodes[node]
            if machine.up and not machine.paused:
                fault.acted += 1
                self._struck.setdefault(node, []).append(fault)
                self._trace.fault(self._engine.now, "begin", fault.name, [node])
                machine.pause()
        return lambda: self._resume(ids)

    def resume(self, action: Resume, fault: Fault, rng: Random) -> None:
        paused = [node for node, machine in self._nodes.items() if machine.paused]
        fault.acted += self._resume(self._namer.meant(action.nodes, rng, paused))

    def _resume(self, ids: tuple[int, ...]) -> int:
        """Let those go on that are paused; returns how many that were."""
        paused = [node for node in ids if self._nodes[node].paused]
        for node in paused:
            self._over(node)
            self._nodes[node].resume()
        return len(paused)

    # -- disks -----------------------------------------------------------------------------------

    def disk(self, action: DiskStall | DiskSlow, fault: Fault, rng: Random) -> Undo:
        ids = self._namer.resolve(action.nodes, rng, among=self._up())
        for node in ids:
            disk = self._nodes[node].disk
            if isinstance(action, DiskStall):
                disk.stall(fault)
            else:
                stream = self._streams.get(f"node/{node}/{fault.name}")
                disk.slow_down(action.extra_ms.sampler(stream), fault)
            self._bad_disks.setdefault(node, []).append(fault)
        self._trace.fault(self._engine.now, "begin", fault.name, ids)
        return lambda: self._recover_disks(ids)

    def disk_recover(self, action: DiskRecover, fault: Fault, rng: Random) -> None:
        bad = tuple(self._bad_disks)
        ids = self._namer.meant(action.nodes, rng, bad)
        fault.acted += sum(node in bad for node in ids)
        self._recover_disks(ids)

    def _recover_disks(self, ids: tuple[int, ...]) -> None:
        for node in ids:
            for cause in self._bad_disks.pop(node, []):
                self._trace.fault(self._engine.now, "end", cause.name, [node])
            self._nodes[node].disk.recover()

    # -- clocks ----------------------------------------------------------------------------------

    def clock(self, action: Clock, fault: Fault, rng: Random) -> Undo:
        ids = self._namer.resolve(action.nodes, rng, among=self._up())
        before = {node: self._clock_of(node) for node in ids}
        offset = None if action.offset_ms is None else round(action.offset_ms * 1000)
        for node in ids:
            machine = self._nodes[node]
            if offset not in (None, machine.clock.wall_offset_us):
                machine.clock_blame["offset"] = fault
            if action.drift_ppm not in (None, machine.clock.drift_ppm):
                machine.clock_blame["drift"] = fault
            self._set_clock(node, offset, action.drift_ppm)
        note = f"offset {action.offset_ms} ms, drift {action.drift_ppm} ppm"
        self._trace.fault(self._engine.now, "begin", fault.name, ids, [], note)
        return partial(self._reset_clocks, before, fault)

    def _clock_of(self, node: int) -> tuple[int, int, dict[str, Fault]]:
        """Offset and drift, and who answers for them."""
        machine = self._nodes[node]
        return machine.clock.wall_offset_us, machine.clock.drift_ppm, dict(machine.clock_blame)

    def _reset_clocks(
        self, before: Mapping[int, tuple[int, int, dict[str, Fault]]], fault: Fault
    ) -> None:
        for node, (offset, drift, blame) in before.items():
            self._set_clock(node, offset, drift)
            self._nodes[node].clock_blame = blame
        self._trace.fault(self._engine.now, "end", fault.name, list(before))

    def _set_clock(self, node: int, offset_us: int | None, drift_ppm: int | None) -> None:
        machine = self._nodes[node]
        if offset_us is not None:
            machine.clock.wall_offset_us = offset_us
        if drift_ppm is not None:
            machine.clock.set_drift(self._engine.now, drift_ppm)
            machine.clock_changed()

    # -- directed steps --------------------------------------------------------------------------

    def campaign(self, action: Campaign, fault: Fault, rng: Random) -> None:
        for node in self._namer.resolve(action.nodes, rng, among=self._running()):
            self._tell(node, CampaignEvent(), fault)

    def snapshot(self, action: TakeSnapshot, fault: Fault, rng: Random) -> None:
        for node in self._namer.resolve(action.nodes, rng, among=self._running()):
            self._tell(node, TakeSnapshotEvent(action.keep_entries), fault)

    def _tell(self, node: int, event: ReplicaEvent, fault: Fault) -> None:
        """Hand an event to a replica; the fault acts if the replica does anything about it."""
        machine = self._nodes[node]
        before = machine.deeds
        if not machine.hand(event, fault):
            return
        if machine.deeds != before:
            fault.acted += 1
        if machine.paused or machine.deeds != before:
            self._trace.fault(self._engine.now, "act", fault.name, [node])

    def operation(self, action: Operation, fault: Fault, rng: Random) -> None:
        key = action.key or "k0"
        if not self._director.knows(key):
            raise NotYet("what prepares the run is not committed")
        for node in self._namer.resolve(action.node, rng, among=self._up()):
            fault.acted += 1
            self._values += 1
            value = action.value if action.value is not None else f"v{self._values}"
            op = self._director.begin(
                action.op,
                key,
                value if action.op == "write" else None,
                timeout_ms=action.timeout_ms,
                node=node,
                reads=self._reads_of(action),
            )
            self.asked.append(Asked(fault.name, action, op))

    def _reads_of(self, action: Operation) -> ReadMix:
        usual = self._director.reads
        bound = action.max_staleness_ms
        return ReadMix(
            usual.kinds if action.read_kind is None else action.read_kind,
            usual.max_staleness_ms if bound is None else bound,
        )


def _survivors(action: PowerLoss, handed_over: int, rng: Random) -> int:
    """How many of the writes that the operating system had not synced are on the disk after a power loss."""
    match action.survives:
        case "none":
            return 0
        case "all":
            return handed_over
        case "random":
            return rng.randint(0, handed_over)
        case int() as number:
            return min(number, handed_over)
