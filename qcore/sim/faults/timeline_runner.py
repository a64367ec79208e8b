"""Carries out a scenario's timeline: when actions fire, how often, and what takes them back."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from random import Random

from qcore.sim.faults.admin_client import AdminActions
from qcore.sim.faults.ledger import Fault, FaultLedger
from qcore.sim.faults.message_faults import MessageActions
from qcore.sim.faults.network_faults import NetworkActions, Undo
from qcore.sim.faults.node_faults import NodeActions
from qcore.sim.faults.selection import ActionNotReady, SelectorResolver
from qcore.sim.faults.triggers import ArmedTrigger, ArmedTriggers
from qcore.sim.scenario.actions.admin_actions import AdminAction, Join
from qcore.sim.scenario.actions.disk_clock_actions import (
    ClockAction,
    DiskRecover,
    DiskSlow,
    DiskStall,
)
from qcore.sim.scenario.actions.message_actions import Drop, Hold, MessageAction, Release
from qcore.sim.scenario.actions.network_actions import (
    Cut,
    Deaf,
    Heal,
    Isolate,
    LinkChange,
    Mute,
    Partition,
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
from qcore.sim.scenario.actions.registry import REPAIRS, Action
from qcore.sim.scenario.timeline import Item
from qcore.sim.scenario.values import Selector, microseconds
from qcore.sim.world.engine import Engine
from qcore.sim.world.random_streams import Streams

#: A name that means nobody at the moment is looked up again after so long.
_LOOK_AGAIN_US = 1000
_NEVER_US = 1 << 60


@dataclass(slots=True)
class _ScheduledItem:
    """A timeline item in execution."""

    item: Item
    faults: list[Fault]
    rng: Random
    fired: int = 0

    @property
    def until_us(self) -> int:
        """After this moment the item does nothing more."""
        return _NEVER_US if self.item.until_ms is None else microseconds(self.item.until_ms)


@dataclass(slots=True)
class ActionTimes:
    """When repairs acted and when the last action of any kind did, for expectations. Microseconds."""

    repairs: list[int] = field(default_factory=list)
    last: int | None = None


class TimelineRunner:
    """Schedules and fires all items of a timeline.

    Args:
        items: what the scenario says.
        ledger: each action gets its line.
        streams: each item draws from a stream of its own.

    Attributes:
        action_times: what has acted when.
    """

    def __init__(
        self,
        items: tuple[Item, ...],
        engine: Engine,
        triggers: ArmedTriggers,
        resolver: SelectorResolver,
        network: NetworkActions,
        nodes: NodeActions,
        messages: MessageActions,
        admin: AdminActions,
        ledger: FaultLedger,
        streams: Streams,
    ) -> None:
        self._engine = engine
        self._triggers = triggers
        self._resolver = resolver
        self._network = network
        self._nodes = nodes
        self._messages = messages
        self._admin = admin
        self.action_times = ActionTimes()
        self._scheduled_items = [
            _ScheduledItem(
                item,
                [
                    ledger.declare(
                        f"timeline[{number}] {item.label or action.kind}",
                        required=not isinstance(action, REPAIRS)
                        and not (
                            isinstance(action, LinkChange) and action.only_removes_impairments
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
        if isinstance(action, MessageAction) and scheduled.item.until_ms is not None:
            ends.append(scheduled.until_us)
        if ends:
            self._engine.at(min(ends), partial(self._undo, undo))

    def _undo(self, undo: Undo) -> None:
        self.action_times.last = self._engine.now
        self.action_times.repairs.append(self._engine.now)
        undo()

    def _perform(self, action: Action, fault: Fault, scheduled: _ScheduledItem) -> Undo | None:
        label, rng, network, nodes = (
            scheduled.item.label or "",
            scheduled.rng,
            self._network,
            self._nodes,
        )
        match action:
            case Partition():
                return network.partition(action, fault, label, rng)
            case Isolate():
                return network.isolate(action, fault, label, rng)
            case Cut():
                return network.cut(action, fault, label, rng)
            case Deaf():
                return network.deaf(action, fault, label, rng)
            case Mute():
                return network.mute(action, fault, label, rng)
            case LinkChange():
                return network.change_links(action, fault, label, rng)
            case Crash() | PowerLoss():
                return nodes.crash(action, fault, rng)
            case Wipe():
                return nodes.wipe(action, fault, rng)
            case Drop() | Hold():
                return self._messages.arm(action, fault, label, rng)
            case Pause():
                return nodes.pause(action, fault, rng)
            case DiskStall() | DiskSlow():
                return nodes.disk(action, fault, rng)
            case ClockAction():
                return nodes.clock(action, fault, rng)
            case _:
                self._perform_at_once(action, fault, rng, scheduled.until_us)
                return None

    def _perform_at_once(self, action: Action, fault: Fault, rng: Random, until_us: int) -> None:
        """Actions that nothing takes back."""
        match action:
            case Heal():
                self._network.heal(action, fault, rng)
            case Release():
                self._messages.release(action, fault)
            case Restart():
                self._nodes.restart(action, fault, rng)
            case Resume():
                self._nodes.resume(action, fault, rng)
            case DiskRecover():
                self._nodes.disk_recover(action, fault, rng)
            case CampaignAction():
                self._nodes.campaign(action, fault, rng)
            case TakeSnapshotAction():
                self._nodes.snapshot(action, fault, rng)
            case OperationAction():
                self._nodes.operation(action, fault, rng)
            case Join():
                self._nodes.join(action, fault)
            case AdminAction():
                self._admin.begin(action, fault, rng, until_us)
