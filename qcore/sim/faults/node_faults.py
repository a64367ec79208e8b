"""Timeline actions on machines: crashes, restarts, pauses, bad disks, wrong clocks, and directed steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from qcore.core.events import Campaign
from qcore.replica.events import ReplicaEvent, TriggerSnapshot
from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.faults.selection import ActionNotReady, SelectorResolver
from qcore.sim.scenario.actions.admin_actions import Join
from qcore.sim.scenario.actions.disk_clock_actions import (
    ClockAction,
    DiskRecover,
    DiskSlow,
    DiskStall,
)
from qcore.sim.scenario.actions.node_actions import (
    CampaignAction,
    Crash,
    Pause,
    PowerLoss,
    Restart,
    Resume,
    TakeSnapshotAction,
    Wipe,
)
from qcore.sim.scenario.actions.operation_actions import OperationAction
from qcore.sim.scenario.cluster import ClusterSpec
from qcore.sim.scenario.settings import NO_SETTINGS, NodeSettings
from qcore.sim.scenario.values import microseconds
from qcore.sim.workload.operations import ClientOperation
from qcore.sim.workload.sim_client import ReadMix, SimClient
from qcore.sim.world.node.sim_node import SimNode
from qcore.sim.world.random_streams import Streams
from qcore.sim.world.services import Services

#: Takes the effect of an action back.
Undo = Callable[[], object]


@dataclass(slots=True, frozen=True)
class _ClockSetting:
    """What a firing sets on a clock; None where it sets nothing."""

    offset_us: int | None
    drift_ppm: int | None


@dataclass(slots=True, frozen=True)
class TimelineOperation:
    """One operation that the timeline had sent, for the expectations: the item's name, and what it says."""

    name: str
    action: OperationAction
    op: ClientOperation


class NodeActions:
    """Strikes and repairs nodes, and keeps the trace informed.

    Args:
        services: the shared parts of the run.
        resolver: resolves symbolic names.
        nodes: the simulated servers.
        timeline_client: the client that sends the operations of the timeline.
        streams: for the extra latencies of slow disks.
        cluster: the settings that nodes have unless a restart changed them.

    Attributes:
        timeline_operations: the operations of the timeline, in the order in which they began.
    """

    def __init__(
        self,
        services: Services,
        resolver: SelectorResolver,
        nodes: Mapping[int, SimNode],
        timeline_client: SimClient,
        streams: Streams,
        cluster: ClusterSpec,
    ) -> None:
        self._services = services
        self._engine = services.engine
        self._trace = services.trace
        self._resolver = resolver
        self._nodes = nodes
        self._timeline_client = timeline_client
        self._streams = streams
        # Which firings hold a node so, in the order in which they began.
        self._stopped_by: dict[int, list[Firing]] = {}
        self._paused_by: dict[int, list[Firing]] = {}
        self._disk_firings: dict[int, list[Firing]] = {}
        self._clock_firings: dict[int, dict[Firing, _ClockSetting]] = {}
        self._base_clocks = {node: self._clock_of(node) for node in nodes}
        self._values = 0
        self._cluster = cluster
        self._settings: dict[int, NodeSettings] = {}  # what restarts changed
        self.timeline_operations: list[TimelineOperation] = []

    # -- crash, power loss, restart --------------------------------------------------------------

    def crash(self, action: Crash | PowerLoss, fault: Fault, rng: Random) -> Undo:
        ids = self._resolver.resolve(action.nodes, rng, among=self._up())
        firing = Firing(fault)
        for node in ids:
            self._change_settings(node, action.settings)
            if isinstance(action, PowerLoss):
                survivors = _survivors(action, self._nodes[node].disk.unsynced_writes, rng)
                self._stop(node, firing, power_loss=True, survivors=survivors)
            else:
                self._stop(node, firing)
        return lambda: self._end_stop(ids, firing)

    def wipe(self, action: Wipe, fault: Fault, rng: Random) -> Undo:
        """End the process, if it runs, and blank the disk; a node that is down loses its disk all the same."""
        ids = self._resolver.resolve(action.nodes, rng)
        firing = Firing(fault)
        for node in ids:
            self._change_settings(node, action.settings)
            self._keep_down(node, firing)
            machine = self._nodes[node]
            fault.acted += machine.up or not machine.disk.is_blank
            lost = machine.wipe()
            note = f"wiped; {lost} unsynced writes lost"
            self._trace.fault(self._engine.now, "begin", fault.name, [node], [], note)
        return lambda: self._end_stop(ids, firing)

    def _up(self) -> list[int]:
        return [node for node, machine in self._nodes.items() if machine.up]

    def _running(self) -> list[int]:
        return [node for node, machine in self._nodes.items() if machine.up and not machine.paused]

    def restart(self, action: Restart, fault: Fault, rng: Random) -> None:
        down = [node for node, machine in self._nodes.items() if not machine.up]
        ids = self._resolver.resolve_as_before(action.nodes, rng, down)
        stopped = [node for node in ids if node in down]
        if stopped:
            fault.acted += self._start(tuple(stopped), action.settings)
            return
        firing = Firing(fault)
        for node in ids:
            # At once: another item may start the node before `down_ms` is over.
            self._change_settings(node, action.settings)
            self._stop(node, firing)
        self._engine.after(microseconds(action.down_ms), lambda: self._end_stop(ids, firing))

    def _stop(
        self, node: int, firing: Firing, *, power_loss: bool = False, survivors: int = 0
    ) -> None:
        """Stop a process; one that another fault has stopped stays down for this one too."""
        machine = self._nodes[node]
        self._keep_down(node, firing)
        note = "is down already"
        if machine.up:
            lost = machine.crash(power_loss=power_loss, survivors=survivors)
            firing.fault.acted += 1
            note = f"{lost} unsynced writes lost"
            if survivors:
                note += f", {survivors} survived"
        elif node not in self._stopped_by:
            return
        self._trace.fault(self._engine.now, "begin", firing.fault.name, [node], [], note)

    def _keep_down(self, node: int, firing: Firing) -> None:
        """What was never started, or failed by itself, no fault keeps down: none must start it at its end."""
        if self._nodes[node].up or node in self._stopped_by:
            self._stopped_by.setdefault(node, []).append(firing)

    def _end_stop(self, ids: tuple[int, ...], firing: Firing) -> None:
        for node in ids:
            if self._is_last(self._stopped_by, node, firing):
                self._start((node,))

    def _is_last(self, held: dict[int, list[Firing]], node: int, firing: Firing) -> bool:
        """Whether nothing but this firing holds a node; if something does, only this firing ends."""
        firings = held.get(node, [])
        if firings == [firing]:
            return True
        if firing in firings:
            first = firings[0]
            firings.remove(firing)
            self._trace.fault(self._engine.now, "end", firing.fault.name, [node])
            if firings[0] is not first:  # without this one the node would run now
                firings[0].fault.acted += 1
        return False

    def _start(self, ids: tuple[int, ...], settings: NodeSettings | None = None) -> int:
        """Start those that are down, with `settings` changed; returns how many that were."""
        down = [node for node in ids if not self._nodes[node].up]
        for node in down:
            self._end_firings(node)
            self._change_settings(node, settings)
            self._nodes[node].start()
        return len(down)

    def _change_settings(self, node: int, settings: NodeSettings | None) -> None:
        """Change a node's settings for its next start.

        Raises:
            ConfigError: they do not go with those that it was given before.
        """
        if settings is not None:
            changed = self._settings.get(node, NO_SETTINGS).changed(settings)
            self._settings[node] = changed
            self._nodes[node].reconfigure(self._cluster.replica_config(node, changed))

    def _end_firings(self, node: int) -> None:
        for cause in [*self._paused_by.pop(node, []), *self._stopped_by.pop(node, [])]:
            self._trace.fault(self._engine.now, "end", cause.fault.name, [node])

    def join(self, action: Join, fault: Fault) -> None:
        """Start pristine nodes: one that has run before is stopped, and gets a blank disk."""
        for node in action.ids:
            machine = self._nodes[node]
            if machine.up:
                self._stop(node, Firing(fault))  # counts already
            else:
                fault.acted += 1
            self._end_firings(node)
            machine.wipe()
            self._trace.fault(self._engine.now, "act", fault.name, [node])
            machine.start()

    # -- pause, resume ---------------------------------------------------------------------------

    def pause(self, action: Pause, fault: Fault, rng: Random) -> Undo:
        ids = self._resolver.resolve(action.nodes, rng, among=self._running())
        firing = Firing(fault)
        for node in ids:
            machine = self._nodes[node]
            if machine.up:
                fault.acted += not machine.paused
                self._paused_by.setdefault(node, []).append(firing)
                self._trace.fault(self._engine.now, "begin", fault.name, [node])
                machine.pause()
        return lambda: self._end_pause(ids, firing)

    def _end_pause(self, ids: tuple[int, ...], firing: Firing) -> None:
        """End one pause; a process that died meanwhile took its pauses with it."""
        for node in ids:
            if self._nodes[node].paused and self._is_last(self._paused_by, node, firing):
                self._resume((node,))

    def resume(self, action: Resume, fault: Fault, rng: Random) -> None:
        paused = [node for node, machine in self._nodes.items() if machine.paused]
        fault.acted += self._resume(self._resolver.resolve_as_before(action.nodes, rng, paused))

    def _resume(self, ids: tuple[int, ...]) -> int:
        """Let those go on that are paused; returns how many that were."""
        paused = [node for node in ids if self._nodes[node].paused]
        for node in paused:
            self._end_firings(node)
            self._nodes[node].resume()
        return len(paused)

    # -- disks -----------------------------------------------------------------------------------

    def disk(self, action: DiskStall | DiskSlow, fault: Fault, rng: Random) -> Undo:
        ids = self._resolver.resolve(action.nodes, rng, among=self._up())
        firing = Firing(fault)
        for node in ids:
            disk = self._nodes[node].disk
            if isinstance(action, DiskStall):
                disk.stall(firing)
            else:
                stream = self._streams.get(f"node/{node}/{fault.name}")
                disk.slow_down(action.extra_ms.sampler(stream), firing)
            self._disk_firings.setdefault(node, []).append(firing)
        self._trace.fault(self._engine.now, "begin", fault.name, ids)
        return lambda: self._recover_disks(ids, firing)

    def disk_recover(self, action: DiskRecover, fault: Fault, rng: Random) -> None:
        bad = tuple(self._disk_firings)
        ids = self._resolver.resolve_as_before(action.nodes, rng, bad)
        fault.acted += sum(node in bad for node in ids)
        self._recover_disks(ids)

    def _recover_disks(self, ids: tuple[int, ...], firing: Firing | None = None) -> None:
        """End what one firing did to these disks, or whatever ails them."""
        for node in ids:
            causes = self._disk_firings.pop(node, [])
            left = [cause for cause in causes if firing not in (None, cause)]
            if left:
                self._disk_firings[node] = left
            for cause in causes:
                if cause not in left:
                    self._trace.fault(self._engine.now, "end", cause.fault.name, [node])
            self._nodes[node].disk.recover(firing)

    # -- clocks ----------------------------------------------------------------------------------

    def clock(self, action: ClockAction, fault: Fault, rng: Random) -> Undo:
        ids = self._resolver.resolve(action.nodes, rng, among=self._up())
        firing = Firing(fault)
        offset = None if action.offset_ms is None else round(action.offset_ms * 1000)
        for node in ids:
            setting = _ClockSetting(offset, action.drift_ppm)
            self._clock_firings.setdefault(node, {})[firing] = setting
            self._apply_clock(node)
        note = f"offset {action.offset_ms} ms, drift {action.drift_ppm} ppm"
        self._trace.fault(self._engine.now, "begin", fault.name, ids, [], note)
        return lambda: self._end_clock(ids, firing)

    def _clock_of(self, node: int) -> tuple[int, int, dict[str, Fault]]:
        """Offset and drift, and who answers for them."""
        machine = self._nodes[node]
        return machine.clock.wall_offset_us, machine.clock.drift_ppm, dict(machine.clock_faults)

    def _end_clock(self, ids: tuple[int, ...], firing: Firing) -> None:
        for node in ids:
            del self._clock_firings[node][firing]
            self._apply_clock(node)
        self._trace.fault(self._engine.now, "end", firing.fault.name, ids)

    def _apply_clock(self, node: int) -> None:
        """Set a clock as the scenario has it, changed by every firing in force, in their order."""
        offset, drift, normal = self._base_clocks[node]
        faults_by_setting = dict(normal)
        for firing, setting in self._clock_firings[node].items():
            if setting.offset_us not in (None, offset):
                offset, faults_by_setting["offset"] = setting.offset_us, firing.fault
            if setting.drift_ppm not in (None, drift):
                drift, faults_by_setting["drift"] = setting.drift_ppm, firing.fault
        self._nodes[node].clock_faults = faults_by_setting
        self._set_clock(node, offset, drift)

    def _set_clock(self, node: int, offset_us: int, drift_ppm: int) -> None:
        machine = self._nodes[node]
        machine.clock.wall_offset_us = offset_us
        if drift_ppm != machine.clock.drift_ppm:
            machine.clock.set_drift(self._engine.now, drift_ppm)
            machine.clock_changed()

    # -- directed steps --------------------------------------------------------------------------

    def campaign(self, action: CampaignAction, fault: Fault, rng: Random) -> None:
        for node in self._resolver.resolve(action.nodes, rng, among=self._running()):
            self._deliver_event(node, Campaign(), fault)

    def snapshot(self, action: TakeSnapshotAction, fault: Fault, rng: Random) -> None:
        for node in self._resolver.resolve(action.nodes, rng, among=self._running()):
            self._deliver_event(node, TriggerSnapshot(action.keep_entries), fault)

    def _deliver_event(self, node: int, event: ReplicaEvent, fault: Fault) -> None:
        """Hand an event to a replica; the fault acts if the replica does anything about it."""
        machine = self._nodes[node]
        before = machine.visible_state
        if not machine.deliver_event(event, fault):
            return
        if machine.visible_state != before:
            fault.acted += 1
        if machine.paused or machine.visible_state != before:
            self._trace.fault(self._engine.now, "act", fault.name, [node])

    def operation(self, action: OperationAction, fault: Fault, rng: Random) -> None:
        key = action.key or "k0"
        if not self._timeline_client.can_encode(key):
            raise ActionNotReady("what prepares the run is not committed")
        for node in self._resolver.resolve(action.node, rng, among=self._up()):
            fault.acted += 1
            self._values += 1
            value = action.value if action.value is not None else f"v{self._values}"
            op = self._timeline_client.begin(
                action.op,
                key,
                value if action.op == "write" else None,
                timeout_ms=action.timeout_ms,
                node=node,
                reads=self._reads_of(action),
            )
            self.timeline_operations.append(TimelineOperation(fault.name, action, op))

    def _reads_of(self, action: OperationAction) -> ReadMix:
        usual = self._timeline_client.reads
        bound = action.max_staleness_ms
        return ReadMix(
            usual.kinds if action.read_kind is None else action.read_kind,
            usual.max_staleness_ms if bound is None else bound,
        )


def _survivors(action: PowerLoss, unsynced_writes: int, rng: Random) -> int:
    """How many of the writes that the operating system had not synced are on the disk after a power loss."""
    match action.survives:
        case "none":
            return 0
        case "all":
            return unsynced_writes
        case "random":
            return rng.randint(0, unsynced_writes)
        case int() as number:
            return min(number, unsynced_writes)
