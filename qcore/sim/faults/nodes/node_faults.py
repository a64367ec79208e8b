"""Executes the timeline actions on nodes: crash, power loss, wipe, restart, join, pause, resume, campaign, snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from qcore.core.events import Campaign
from qcore.replica.events import ReplicaEvent, TriggerSnapshot
from qcore.sim.faults.ledger import Fault, Firing, Undo
from qcore.sim.faults.nodes.crash_loops import CrashCycle, CrashLoop
from qcore.sim.faults.selector_resolver import SelectorResolver
from qcore.sim.scenario.actions.admin_actions import Join
from qcore.sim.scenario.actions.node_actions import (
    CampaignAction,
    Crash,
    Pause,
    PowerLoss,
    Restart,
    Resume,
    SlowCpu,
    TakeSnapshotAction,
    Wipe,
)
from qcore.sim.scenario.actions.node_actions import CrashLoop as CrashLoopAction
from qcore.sim.scenario.specs.cluster_spec import ClusterSpec
from qcore.sim.scenario.specs.node_settings import NO_SETTINGS, NodeSettings
from qcore.sim.scenario.values import microseconds
from qcore.sim.world.random_streams import Streams
from qcore.sim.world.services import Services
from qcore.sim.world.simulated_node import SimulatedNode


class NodeActions:
    """Stops, starts and triggers nodes, and traces this. Each public method executes one kind of action.

    A method that begins a fault returns a function that ends it.

    Args:
        services: the shared parts of the run.
        resolver: resolves symbolic names.
        nodes: the simulated nodes, by id.
        cluster: the settings of the nodes, until a restart changes them.
        streams: for the durations that the faults of each node draw.
    """

    def __init__(
        self,
        services: Services,
        resolver: SelectorResolver,
        nodes: Mapping[int, SimulatedNode],
        cluster: ClusterSpec,
        streams: Streams,
    ) -> None:
        self._engine = services.engine
        self._trace = services.trace
        self._resolver = resolver
        self._nodes = nodes
        # The active firings of each node, in the order in which they began.
        self._stopped_by: dict[int, list[Firing]] = {}
        self._paused_by: dict[int, list[Firing]] = {}
        self._cluster = cluster
        self._streams = streams
        self._settings: dict[int, NodeSettings] = {}  # changes by restarts

    # -- crash, power loss, restart --------------------------------------------------------------

    def crash(self, action: Crash | PowerLoss, fault: Fault, rng: Random) -> Undo:
        ids = self._resolver.resolve(action.nodes, rng, among=self._up())
        firing = Firing(fault)
        for node in ids:
            self._change_settings(node, action.settings)
            if isinstance(action, PowerLoss):
                survivors = _survivors(action, self._nodes[node].disk.unsynced_writes, rng)
                self._stop(node, firing, power_loss=True, survivors=survivors, torn=action.torn)
            else:
                self._stop(node, firing)
        return lambda: self._end_stop(ids, firing)

    def crash_loop(self, action: CrashLoopAction, fault: Fault, rng: Random) -> Undo:
        loop = CrashLoop(
            self._engine, self._stop, lambda node, firing: self._end_stop((node,), firing)
        )
        for node in self._resolver.resolve(action.nodes, rng, among=self._up()):
            stream = self._streams.get(f"node/{node}/{fault.name}")
            up_time, down_time = action.up_ms.sampler(stream), action.down_ms.sampler(stream)
            loop.begin(CrashCycle(node, fault, action.times, up_time, down_time))
        return loop.end

    def wipe(self, action: Wipe, fault: Fault, rng: Random) -> Undo:
        """Kill the process, if it runs, and blank the disk. A node that is down loses its disk, too."""
        ids = self._resolver.resolve(action.nodes, rng)
        firing = Firing(fault)
        for node in ids:
            self._change_settings(node, action.settings)
            self._keep_down(node, firing)
            sim_node = self._nodes[node]
            fault.acted += sim_node.up or not sim_node.disk.is_blank
            lost = sim_node.wipe()
            note = f"wiped; {lost} unsynced writes lost"
            self._trace.fault(self._engine.now, "begin", fault.name, [node], [], note)
        return lambda: self._end_stop(ids, firing)

    def _up(self) -> list[int]:
        return [node for node, sim_node in self._nodes.items() if sim_node.up]

    def _running(self) -> list[int]:
        return [
            node for node, sim_node in self._nodes.items() if sim_node.up and not sim_node.paused
        ]

    def restart(self, action: Restart, fault: Fault, rng: Random) -> None:
        down = [node for node, sim_node in self._nodes.items() if not sim_node.up]
        ids = self._resolver.resolve_as_before(action.nodes, rng, down)
        stopped = [node for node in ids if node in down]
        if stopped:
            fault.acted += self._start(tuple(stopped), action.settings)
            return
        firing = Firing(fault)
        for node in ids:
            # Now, because another item may start the node before `down_ms` has passed.
            self._change_settings(node, action.settings)
            self._stop(node, firing)
        self._engine.after(microseconds(action.down_ms), lambda: self._end_stop(ids, firing))

    def _stop(
        self,
        node: int,
        firing: Firing,
        *,
        power_loss: bool = False,
        survivors: int = 0,
        torn: bool = False,
    ) -> None:
        """Stop a process. If another fault has stopped it already, this firing keeps it down as well."""
        sim_node = self._nodes[node]
        self._keep_down(node, firing)
        note = "is down already"
        if sim_node.up:
            lost = sim_node.crash(power_loss=power_loss, survivors=survivors, torn=torn)
            firing.fault.acted += sim_node.disk.content.is_torn if torn else 1
            note = f"{lost} unsynced writes lost"
            if survivors:
                note += f", {survivors} survived"
            if sim_node.disk.content.is_torn:
                note += ", one is torn"
        elif node not in self._stopped_by:
            return
        self._trace.fault(self._engine.now, "begin", firing.fault.name, [node], [], note)

    def _keep_down(self, node: int, firing: Firing) -> None:
        """Record that a firing keeps a node down. The node starts when no such firing is left.

        A node that never started, or that failed, is not kept down: the end of a firing must not start it.
        """
        if self._nodes[node].up or node in self._stopped_by:
            self._stopped_by.setdefault(node, []).append(firing)

    def _end_stop(self, ids: tuple[int, ...], firing: Firing) -> None:
        for node in ids:
            if self._is_last(self._stopped_by, node, firing):
                self._start((node,))

    def _is_last(self, active: dict[int, list[Firing]], node: int, firing: Firing) -> bool:
        """Whether this firing is the last active one at a node. If not, end it here, also in the trace."""
        firings = active.get(node, [])
        if firings == [firing]:
            return True
        if firing in firings:
            first = firings[0]
            firings.remove(firing)
            self._trace.fault(self._engine.now, "end", firing.fault.name, [node])
            if firings[0] is not first:  # the next firing makes the difference now
                firings[0].fault.acted += 1
        return False

    def _start(self, ids: tuple[int, ...], settings: NodeSettings | None = None) -> int:
        """Start the nodes that are down, with these settings changed. Returns how many were down."""
        down = [node for node in ids if not self._nodes[node].up]
        for node in down:
            self._end_firings(node)
            self._change_settings(node, settings)
            self._nodes[node].start()
        return len(down)

    def _change_settings(self, node: int, settings: NodeSettings | None) -> None:
        """Change a node's settings for its next start.

        Raises:
            ConfigError: they contradict the settings that earlier actions changed.
        """
        if settings is not None:
            changed = self._settings.get(node, NO_SETTINGS).changed(settings)
            self._settings[node] = changed
            self._nodes[node].reconfigure(self._cluster.replica_config(node, changed))

    def _end_firings(self, node: int) -> None:
        for firing in [*self._paused_by.pop(node, []), *self._stopped_by.pop(node, [])]:
            self._trace.fault(self._engine.now, "end", firing.fault.name, [node])

    def join(self, action: Join, fault: Fault, _rng: Random) -> None:
        """Start pristine nodes. A node that has run before is stopped and its disk is wiped."""
        for node in action.ids:
            sim_node = self._nodes[node]
            if sim_node.up:
                self._stop(node, Firing(fault))  # counts as acted
            else:
                fault.acted += 1
            self._end_firings(node)
            sim_node.wipe()
            self._trace.fault(self._engine.now, "act", fault.name, [node])
            sim_node.start()

    # -- pause, resume ---------------------------------------------------------------------------

    def pause(self, action: Pause, fault: Fault, rng: Random) -> Undo:
        ids = self._resolver.resolve(action.nodes, rng, among=self._running())
        firing = Firing(fault)
        for node in ids:
            sim_node = self._nodes[node]
            if sim_node.up:
                fault.acted += not sim_node.paused
                self._paused_by.setdefault(node, []).append(firing)
                self._trace.fault(self._engine.now, "begin", fault.name, [node])
                sim_node.pause()
        return lambda: self._end_pause(ids, firing)

    def _end_pause(self, ids: tuple[int, ...], firing: Firing) -> None:
        """End one pause. The death of a process ends its pauses."""
        for node in ids:
            if self._nodes[node].paused and self._is_last(self._paused_by, node, firing):
                self._resume((node,))

    def resume(self, action: Resume, fault: Fault, rng: Random) -> None:
        paused = [node for node, sim_node in self._nodes.items() if sim_node.paused]
        fault.acted += self._resume(self._resolver.resolve_as_before(action.nodes, rng, paused))

    def _resume(self, ids: tuple[int, ...]) -> int:
        """Resume the nodes that are paused. Returns how many were paused."""
        paused = [node for node in ids if self._nodes[node].paused]
        for node in paused:
            self._end_firings(node)
            self._nodes[node].resume()
        return len(paused)

    # -- slow CPU --------------------------------------------------------------------------------

    def slow_cpu(self, action: SlowCpu, fault: Fault, rng: Random) -> Undo:
        ids = self._resolver.resolve(action.nodes, rng, among=self._up())
        firing = Firing(fault)
        for node in ids:
            stream = self._streams.get(f"node/{node}/{fault.name}")
            self._nodes[node].events.slow_down(firing, action.step_time.sampler(stream))
        self._trace.fault(self._engine.now, "begin", fault.name, ids)
        return lambda: self._end_slow_cpu(ids, firing)

    def _end_slow_cpu(self, ids: tuple[int, ...], firing: Firing) -> None:
        for node in ids:
            self._nodes[node].events.end_slow_down(firing)
        self._trace.fault(self._engine.now, "end", firing.fault.name, ids)

    # -- campaign, snapshot ----------------------------------------------------------------------

    def campaign(self, action: CampaignAction, fault: Fault, rng: Random) -> None:
        for node in self._resolver.resolve(action.nodes, rng, among=self._running()):
            self._deliver_event(node, Campaign(), fault)

    def snapshot(self, action: TakeSnapshotAction, fault: Fault, rng: Random) -> None:
        for node in self._resolver.resolve(action.nodes, rng, among=self._running()):
            self._deliver_event(node, TriggerSnapshot(action.keep_entries), fault)

    def _deliver_event(self, node: int, event: ReplicaEvent, fault: Fault) -> None:
        """Give an event to a replica. The fault has acted if the replica does anything visible."""
        sim_node = self._nodes[node]
        before = sim_node.visible_state
        if not sim_node.deliver_event(event, fault):
            return
        if sim_node.visible_state != before:
            fault.acted += 1
        if sim_node.events.holds or sim_node.visible_state != before:
            self._trace.fault(self._engine.now, "act", fault.name, [node])


def _survivors(action: PowerLoss, unsynced_writes: int, rng: Random) -> int:
    """How many of the unsynced writes survive a power loss."""
    match action.survives:
        case "none":
            return 0
        case "all":
            return unsynced_writes
        case "random":
            return rng.randint(0, unsynced_writes)
        case int() as number:
            return min(number, unsynced_writes)
