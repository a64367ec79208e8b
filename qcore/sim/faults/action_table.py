"""Which method executes which kind of timeline action: the one place to add when there is a new kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TypeVar

from qcore.sim.faults.admin_client import AdminActions
from qcore.sim.faults.ledger import Fault, Undo
from qcore.sim.faults.network.message_faults import MessageActions
from qcore.sim.faults.network.network_faults import NetworkActions
from qcore.sim.faults.nodes.disk_clock_faults import DiskClockActions
from qcore.sim.faults.nodes.node_faults import NodeActions
from qcore.sim.faults.selector_resolver import SelectorResolver
from qcore.sim.faults.standing_faults import StandingFaults
from qcore.sim.faults.timeline_operations import OperationActions
from qcore.sim.scenario.actions import (
    admin_actions,
    disk_clock_actions,
    message_actions,
    network_actions,
    node_actions,
    operation_actions,
)
from qcore.sim.scenario.actions.registry import Action
from qcore.sim.scenario.specs.cluster_spec import ClusterSpec
from qcore.sim.workload.sim_client import SimClient
from qcore.sim.world.random_streams import Streams
from qcore.sim.world.services import Services
from qcore.sim.world.simulated_node import SimulatedNode

A = TypeVar("A", bound=Action)

#: Executes an action now, for a fault, with a random stream. Returns a function that ends its effect, or None.
Execute = Callable[[A, Fault, Random], Undo | None]


@dataclass(slots=True, frozen=True)
class TimelineActions:
    """The objects that execute actions, by what they act on."""

    network: NetworkActions
    nodes: NodeActions
    disks_clocks: DiskClockActions
    messages: MessageActions
    operations: OperationActions
    admin: AdminActions


def make_actions(
    services: Services,
    resolver: SelectorResolver,
    nodes: Mapping[int, SimulatedNode],
    cluster: ClusterSpec,
    streams: Streams,
    standing_faults: StandingFaults,
    client: SimClient,
) -> TimelineActions:
    """Make the objects that execute actions, once all nodes and links exist.

    Args:
        services: the shared parts of the run.
        resolver: resolves symbolic names.
        nodes: the simulated nodes, by id.
        cluster: the settings of the nodes.
        streams: for the extra latencies of slow disks.
        standing_faults: informed of every change of links.
        client: sends the operations of the timeline.
    """
    network = NetworkActions(services, resolver, standing_faults)
    network.remember_base_quality()
    return TimelineActions(
        network,
        NodeActions(services, resolver, nodes, cluster, streams),
        DiskClockActions(services, resolver, nodes, streams),
        MessageActions(services, resolver),
        OperationActions(resolver, nodes, client),
        AdminActions(services, resolver, nodes),
    )


class ActionTable:
    """Executes actions of every kind.

    Args:
        actions: the objects whose methods execute them.
    """

    def __init__(self, actions: TimelineActions) -> None:
        self._methods: dict[type, Callable[[Action, Fault, Random], Undo | None]] = {}
        network, nodes, messages = actions.network, actions.nodes, actions.messages
        disks_clocks, admin = actions.disks_clocks, actions.admin

        self._add(network_actions.Partition, network.partition)
        self._add(network_actions.Isolate, network.isolate)
        self._add(network_actions.Cut, network.cut)
        self._add(network_actions.Deaf, network.deaf)
        self._add(network_actions.Mute, network.mute)
        self._add(network_actions.Clog, network.clog)
        self._add(network_actions.SwizzleClog, network.swizzle_clog)
        self._add(network_actions.LinkChange, network.change_links)
        self._add(network_actions.Heal, network.heal)

        self._add(message_actions.Drop, messages.arm)
        self._add(message_actions.Hold, messages.arm)
        self._add(message_actions.Release, messages.release)

        self._add(node_actions.Crash, nodes.crash)
        self._add(node_actions.PowerLoss, nodes.crash)
        self._add(node_actions.CrashLoop, nodes.crash_loop)
        self._add(node_actions.SlowCpu, nodes.slow_cpu)
        self._add(node_actions.Wipe, nodes.wipe)
        self._add(node_actions.Restart, nodes.restart)
        self._add(node_actions.Pause, nodes.pause)
        self._add(node_actions.Resume, nodes.resume)
        self._add(node_actions.CampaignAction, nodes.campaign)
        self._add(node_actions.TakeSnapshotAction, nodes.snapshot)
        self._add(admin_actions.Join, nodes.join)

        self._add(disk_clock_actions.DiskStall, disks_clocks.disk)
        self._add(disk_clock_actions.DiskSlow, disks_clocks.disk)
        self._add(disk_clock_actions.DiskError, disks_clocks.disk)
        self._add(disk_clock_actions.FullDisk, disks_clocks.disk)
        self._add(disk_clock_actions.BitRot, disks_clocks.bit_rot)
        self._add(disk_clock_actions.DiskRecover, disks_clocks.disk_recover)
        self._add(disk_clock_actions.ClockAction, disks_clocks.clock)
        self._add(disk_clock_actions.ClockJump, disks_clocks.clock)

        self._add(operation_actions.OperationAction, actions.operations.send)

        self._add(admin_actions.AddLearnerAction, admin.begin)
        self._add(admin_actions.ChangeMembersAction, admin.begin)
        self._add(admin_actions.RemoveAction, admin.begin)
        self._add(admin_actions.TransferAction, admin.begin)

    @property
    def kinds(self) -> frozenset[type]:
        """The models of the actions that it can execute."""
        return frozenset(self._methods)

    def execute(self, action: Action, fault: Fault, rng: Random) -> Undo | None:
        """Execute one action, now.

        Args:
            action: the action.
            fault: its line in the ledger.
            rng: draws its random choices.

        Returns:
            A function that ends the effect of the action; None if it has no effect that could end.

        Raises:
            ActionNotReady: the action names nodes that cannot be resolved now.
        """
        return self._methods[type(action)](action, fault, rng)

    def _add(self, kind: type[A], method: Execute[A]) -> None:
        self._methods[kind] = partial(_execute, kind, method)


def _execute(
    kind: type[A], method: Execute[A], action: Action, fault: Fault, rng: Random
) -> Undo | None:
    assert isinstance(action, kind)
    return method(action, fault, rng)
