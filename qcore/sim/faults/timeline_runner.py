"""Schedules a scenario's timeline: when each action fires, how often, and when its effect ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from random import Random

from qcore.sim.faults.action_table import ActionTable, TimelineActions
from qcore.sim.faults.ledger import Fault, FaultLedger, TimedUndo, Undo
from qcore.sim.faults.selector_resolver import ActionNotReady, SelectorResolver
from qcore.sim.faults.triggers import ArmedTrigger, ArmedTriggers, NodeEvent
from qcore.sim.scenario.actions.message_actions import MessageAction
from qcore.sim.scenario.actions.network_actions import LinkChange
from qcore.sim.scenario.actions.registry import REPAIRS, Action
from qcore.sim.scenario.actions.repair_action import Repair, whole_repair
from qcore.sim.scenario.generated.random_times import drawn_already
from qcore.sim.scenario.timeline import Item
from qcore.sim.scenario.values import Selector, microseconds
from qcore.sim.world.clock.engine import NEVER_US, Engine
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
    begun: bool = False
    disarmed: bool = False

    @property
    def until_us(self) -> int:
        """After this time the item does nothing more."""
        return _until_us(self.item)


def _until_us(item: Item) -> int:
    return NEVER_US if item.until_ms is None else microseconds(item.until_ms)


@dataclass(slots=True)
class ActionTimes:
    """The times of all repairs and of the last action of any kind, in microseconds. The expectations need them."""

    repairs: list[int] = field(default_factory=list)
    last: int | None = None


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
        actions: executes the actions of all kinds.
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
        self.actions = ActionTable(actions)
        self.action_times = ActionTimes()
        self._active: dict[object, Undo] = {}  # the firings whose effects have not ended
        self._ledger = ledger
        self._scheduled_items = [
            self._declare(item, f"timeline[{number}]", streams.get(f"fault/{number}"))
            for number, item in enumerate(items)
        ]

    def _declare(self, item: Item, place: str, rng: Random) -> _ScheduledItem:
        """Give each action of an item a line in the ledger."""
        faults = [
            self._ledger.declare(
                f"{place} {item.label or action.kind}",
                action.kind,
                required=not item.may_not_act
                and not isinstance(action, REPAIRS)
                and not (isinstance(action, LinkChange) and action.only_removes_impairments),
                label=item.label or "",
                until_us=_until_us(item),
                flap=item.flap,
            )
            for action in item.actions
        ]
        return _ScheduledItem(item, faults, rng)

    def fire(self, item: Item, place: str, rng: Random) -> None:
        """Fire an item now that is not part of the timeline, or arm its trigger.

        Args:
            item: the item; its time does not matter.
            place: its name in the ledger and in the trace.
            rng: draws its random choices.
        """
        scheduled = self._declare(item, place, rng)
        self._scheduled_items.append(scheduled)
        if item.when is not None:
            self._arm(scheduled)
        else:
            self._fire_item(scheduled)

    def schedule(self) -> None:
        """Put every item on the clock, or arm its trigger."""
        before = 0
        for scheduled in self._scheduled_items:
            item = scheduled.item
            at_us = drawn_already(item.at_ms)
            if item.when is not None:
                self._engine.at(at_us or 0, partial(self._arm, scheduled))
                continue
            before = before + (drawn_already(item.after_ms) or 0) if at_us is None else at_us
            self._engine.at(before, partial(self._fire_item, scheduled))

    def _arm(self, scheduled: _ScheduledItem) -> None:
        trigger = scheduled.item.when
        assert trigger is not None
        scheduled.begun = True
        delay = drawn_already(scheduled.item.after_ms)

        def act(event: NodeEvent) -> None:
            if delay:
                self._engine.after(delay, partial(self._fire_item, scheduled, event))
            else:
                self._engine.immediately(partial(self._fire_item, scheduled, event))

        def names(selector: Selector, node: int) -> bool:
            return self._names(selector, node, scheduled.rng)

        self._triggers.arm(
            trigger.event, ArmedTrigger(trigger, names, scheduled.item.times or 1, act)
        )

    def _names(self, selector: Selector, node: int, rng: Random) -> bool:
        try:
            return node in self._resolver.resolve(selector, rng)
        except ActionNotReady:
            return False

    def _fire_item(self, scheduled: _ScheduledItem, event: NodeEvent | None = None) -> None:
        item = scheduled.item
        if self._is_disarmed(scheduled):
            return
        scheduled.begun = True
        scheduled.fired += 1
        gap = drawn_already(item.every_ms)
        if gap is not None and (item.times is None or scheduled.fired < item.times):
            again = self._engine.now + gap
            if again <= scheduled.until_us:
                self._engine.at(again, partial(self._fire_item, scheduled))
        for action, fault in zip(item.actions, scheduled.faults, strict=True):
            self._fire(scheduled, action, fault, event)

    def _is_disarmed(self, scheduled: _ScheduledItem) -> bool:
        return scheduled.disarmed or self._engine.now > scheduled.until_us

    def _fire(
        self, scheduled: _ScheduledItem, action: Action, fault: Fault, event: NodeEvent | None
    ) -> None:
        if self._is_disarmed(scheduled):
            return
        if isinstance(action, Repair):
            self._repair_all(scheduled, fault)
            return
        self._resolver.event = event
        try:
            undo = self.actions.execute(action, fault, scheduled.rng)
        except ActionNotReady:
            self._engine.after(_LOOK_AGAIN_US, partial(self._fire, scheduled, action, fault, event))
            return
        self.action_times.last = self._engine.now
        if isinstance(action, REPAIRS):
            self.action_times.repairs.append(self._engine.now)
        if undo is None:
            return
        firing = object()
        self._active[firing] = undo
        ends: list[int] = []
        lasts_us = drawn_already(scheduled.item.for_ms)
        if lasts_us is not None:
            ends.append(self._engine.now + lasts_us)
        if isinstance(undo, TimedUndo):
            ends.append(undo.at_us)
        lasts = isinstance(action, MessageAction) or scheduled.item.flap is not None
        if lasts and scheduled.item.until_ms is not None:
            ends.append(scheduled.until_us)
        if ends:
            self._engine.at(min(ends), partial(self._end, firing))

    def _end(self, firing: object) -> None:
        undo = self._active.pop(firing, None)
        if undo is None:  # a `repair` ended it before
            return
        self.action_times.last = self._engine.now
        self.action_times.repairs.append(self._engine.now)
        undo()

    def _repair_all(self, scheduled: _ScheduledItem, fault: Fault) -> None:
        """End every fault, disarm every item that has begun, and start what is down."""
        for other in self._scheduled_items:
            other.disarmed = other.disarmed or (other.begun and other is not scheduled)
        self._triggers.disarm_all()
        fault.acted += len(self._active)
        for firing in list(self._active):
            self._end(firing)
        for action in whole_repair():
            self.actions.execute(action, fault, scheduled.rng)
        self.action_times.last = self._engine.now
        self.action_times.repairs.append(self._engine.now)
