"""Schedules a scenario's timeline: when each action fires, how often, and when its effect ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from random import Random

from qcore.sim.faults.admin_client import AdminActions
from qcore.sim.faults.disk_clock_faults import DiskClockActions
from qcore.sim.faults.ledger import Fault, FaultLedger, Undo
from qcore.sim.faults.message_faults import MessageActions
from qcore.sim.faults.network_faults import NetworkActions
from qcore.sim.faults.node_faults import NodeActions
from qcore.sim.faults.selector_resolver import ActionNotReady, SelectorResolver
from qcore.sim.faults.timeline_operations import OperationActions
from qcore.sim.faults.triggers import ArmedTrigger, ArmedTriggers
from qcore.sim.scenario.actions import (
    admin_actions,
    disk_clock_actions,
    message_actions,
    network_actions,
    node_actions,
    operation_actions,
)
from qcore.sim.scenario.actions.registry import REPAIRS, Action
from qcore.sim.scenario.timeline import Item
from qcore.sim.scenario.values import Selector, microseconds
from qcore.sim.world.engine import NEVER_US, Engine
from qcore.sim.world.random_streams import Streams

#: How long to wait before an action that is not ready is tried again.
_LOOK_AGAIN_US = 1000


@dataclass(slots=True)
class _ScheduledItem:
    """A timeline item, its faults, and how often it has fired."""

    item: Item
    faults: list[Fault]
    rng: Random
    fired: int = 0

    @property
    def until_us(self) -> int:
        """After this time the item does nothing more."""
        return NEVER_US if self.item.until_ms is None else microseconds(self.item.until_ms)


@dataclass(slots=True)
class ActionTimes:
    """The times of all repairs and of the last action of any kind, in microseconds. The expectations need them."""

    repairs: list[int] = field(default_factory=list)
    last: int | None = None


@dataclass(slots=True, frozen=True)
class TimelineActions:
    """The objects that execute actions, by what they act on."""

    network: NetworkActions
    nodes: NodeActions
    disks_clocks: DiskClockActions
    messages: MessageActions
    operations: OperationActions
    admin: AdminActions


class TimelineRunner:
    """Schedules and fires all items of a timeline.

    Args:
        items: the timeline.
        engine: the simulated clock.
        triggers: the armed triggers, to which items with `when` are added.
        resolver: resolves symbolic names.
        actions: execute the actions.
        ledger: gets a line for each action.
        streams: gives each item a separate random stream.

    Attributes:
        action_times: the times of repairs and of the last action.
    """

    def __init__(
        self,
        items: tuple[Item, ...],
        engine: Engine,
        triggers: ArmedTriggers,
        resolver: SelectorResolver,
        actions: TimelineActions,
        ledger: FaultLedger,
        streams: Streams,
    ) -> None:
        self._engine = engine
        self._triggers = triggers
        self._resolver = resolver
        self._actions = actions
        self.action_times = ActionTimes()
        self._scheduled_items = [
            _ScheduledItem(
                item,
                [
                    ledger.declare(
                        f"timeline[{number}] {item.label or action.kind}",
                        required=not isinstance(action, REPAIRS)
                        and not (
                            isinstance(action, network_actions.LinkChange)
                            and action.only_removes_impairments
                        ),
                    )
                    for action in item.actions
                ],
                streams.get(f"fault/{number}"),
            )
            for number, item in enumerate(items)
        ]

    def schedule(self) -> None:
        """Put every item on the clock, or arm its trigger."""
        before = 0.0
        for scheduled in self._scheduled_items:
            item = scheduled.item
            if item.when is not None:
                self._engine.at(microseconds(item.at_ms or 0.0), partial(self._arm, scheduled))
                continue
            at_ms = item.at_ms if item.at_ms is not None else before + (item.after_ms or 0.0)
            before = at_ms
            self._engine.at(microseconds(at_ms), partial(self._fire_item, scheduled))

    def _arm(self, scheduled: _ScheduledItem) -> None:
        trigger = scheduled.item.when
        assert trigger is not None
        delay = microseconds(scheduled.item.after_ms or 0.0)

        def act() -> None:
            if delay:
                self._engine.after(delay, partial(self._fire_item, scheduled))
            else:
                self._engine.immediately(partial(self._fire_item, scheduled))

        def matches_node(node: int) -> bool:
            return trigger.node is None or self._names(trigger.node, node, scheduled.rng)

        self._triggers.arm(
            trigger.event, ArmedTrigger(trigger, matches_node, scheduled.item.times or 1, act)
        )

    def _names(self, selector: Selector, node: int, rng: Random) -> bool:
        try:
            return node in self._resolver.resolve(selector, rng)
        except ActionNotReady:
            return False

    def _fire_item(self, scheduled: _ScheduledItem) -> None:
        item = scheduled.item
        if self._is_disarmed(scheduled):
            return
        scheduled.fired += 1
        if item.every_ms is not None and (item.times is None or scheduled.fired < item.times):
            again = self._engine.now + microseconds(item.every_ms)
            if again <= scheduled.until_us:
                self._engine.at(again, partial(self._fire_item, scheduled))
        for action, fault in zip(item.actions, scheduled.faults, strict=True):
            self._fire(scheduled, action, fault)

    def _is_disarmed(self, scheduled: _ScheduledItem) -> bool:
        return self._engine.now > scheduled.until_us

    def _fire(self, scheduled: _ScheduledItem, action: Action, fault: Fault) -> None:
        if self._is_disarmed(scheduled):
            return
        try:
            undo = self._perform(action, fault, scheduled)
        except ActionNotReady:
            self._engine.after(_LOOK_AGAIN_US, partial(self._fire, scheduled, action, fault))
            return
        self.action_times.last = self._engine.now
        if isinstance(action, REPAIRS):
            self.action_times.repairs.append(self._engine.now)
        if undo is None:
            return
        ends: list[int] = []
        if scheduled.item.for_ms is not None:
            ends.append(self._engine.now + microseconds(scheduled.item.for_ms))
        if (
            isinstance(action, message_actions.MessageAction)
            and scheduled.item.until_ms is not None
        ):
            ends.append(scheduled.until_us)
        if ends:
            self._engine.at(min(ends), partial(self._undo, undo))

    def _undo(self, undo: Undo) -> None:
        self.action_times.last = self._engine.now
        self.action_times.repairs.append(self._engine.now)
        undo()

    def _perform(self, action: Action, fault: Fault, scheduled: _ScheduledItem) -> Undo | None:
        label, rng = scheduled.item.label or "", scheduled.rng
        network, nodes, disks_clocks = (
            self._actions.network,
            self._actions.nodes,
            self._actions.disks_clocks,
        )
        match action:
            case network_actions.Partition():
                return network.partition(action, fault, label, rng)
            case network_actions.Isolate():
                return network.isolate(action, fault, label, rng)
            case network_actions.Cut():
                return network.cut(action, fault, label, rng)
            case network_actions.Deaf():
                return network.deaf(action, fault, label, rng)
            case network_actions.Mute():
                return network.mute(action, fault, label, rng)
            case network_actions.LinkChange():
                return network.change_links(action, fault, label, rng)
            case node_actions.Crash() | node_actions.PowerLoss():
                return nodes.crash(action, fault, rng)
            case node_actions.CrashLoop():
                return nodes.crash_loop(action, fault, rng)
            case node_actions.SlowCpu():
                return nodes.slow_cpu(action, fault, rng)
            case node_actions.Wipe():
                return nodes.wipe(action, fault, rng)
            case message_actions.Drop() | message_actions.Hold():
                return self._actions.messages.arm(action, fault, label, rng)
            case node_actions.Pause():
                return nodes.pause(action, fault, rng)
            case (
                disk_clock_actions.DiskStall()
                | disk_clock_actions.DiskSlow()
                | disk_clock_actions.DiskError()
                | disk_clock_actions.FullDisk()
            ):
                return disks_clocks.disk(action, fault, rng)
            case disk_clock_actions.ClockAction() | disk_clock_actions.ClockJump():
                return disks_clocks.clock(action, fault, rng)
            case _:
                self._perform_irreversible(action, fault, rng, scheduled.until_us)
                return None

    def _perform_irreversible(
        self, action: Action, fault: Fault, rng: Random, until_us: int
    ) -> None:
        """Perform an action that has no end."""
        actions = self._actions
        match action:
            case network_actions.Heal():
                actions.network.heal(action, fault, rng)
            case message_actions.Release():
                actions.messages.release(action, fault)
            case node_actions.Restart():
                actions.nodes.restart(action, fault, rng)
            case node_actions.Resume():
                actions.nodes.resume(action, fault, rng)
            case disk_clock_actions.BitRot():
                actions.disks_clocks.bit_rot(action, fault, rng)
            case disk_clock_actions.DiskRecover():
                actions.disks_clocks.disk_recover(action, fault, rng)
            case node_actions.CampaignAction():
                actions.nodes.campaign(action, fault, rng)
            case node_actions.TakeSnapshotAction():
                actions.nodes.snapshot(action, fault, rng)
            case operation_actions.OperationAction():
                actions.operations.send(action, fault, rng)
            case admin_actions.Join():
                actions.nodes.join(action, fault)
            case admin_actions.AdminAction():
                actions.admin.begin(action, fault, rng, until_us)
