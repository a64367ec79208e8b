"""Carries out a scenario's timeline: when actions fire, how often, and what takes them back."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from random import Random

from qcore.sim.faults.admin_client import Operator
from qcore.sim.faults.ledger import Fault, Ledger
from qcore.sim.faults.message_faults import MessageActions
from qcore.sim.faults.network_faults import NetworkActions, Undo
from qcore.sim.faults.node_faults import NodeActions
from qcore.sim.faults.selection import Namer, NotYet
from qcore.sim.faults.triggers import Armed, Hooks
from qcore.sim.scenario.actions.admin_actions import AdminAction, Join
from qcore.sim.scenario.actions.cluster_actions import (
    REMEDIES,
    Action,
    Campaign,
    Clock,
    Crash,
    Cut,
    Deaf,
    DiskRecover,
    DiskSlow,
    DiskStall,
    Heal,
    Isolate,
    LinkChange,
    Mute,
    Operation,
    Partition,
    Pause,
    PowerLoss,
    Restart,
    Resume,
    TakeSnapshot,
    Wipe,
)
from qcore.sim.scenario.actions.message_actions import Drop, Hold, MessageAction, Release
from qcore.sim.scenario.timeline import Item
from qcore.sim.scenario.values import Selector, microseconds
from qcore.sim.world.engine import Engine
from qcore.sim.world.random_streams import Streams

#: A name that means nobody at the moment is looked up again after so long.
_LOOK_AGAIN_US = 1000
_FAR_AWAY_US = 1 << 60


@dataclass(slots=True)
class _Line:
    """A timeline item in execution."""

    item: Item
    faults: list[Fault]
    rng: Random
    fired: int = 0

    @property
    def until_us(self) -> int:
        """After this moment the item does nothing more."""
        return _FAR_AWAY_US if self.item.until_ms is None else microseconds(self.item.until_ms)


@dataclass(slots=True)
class Fired:
    """When repairs acted and when the last action of any kind did, for expectations. Microseconds."""

    repairs: list[int] = field(default_factory=list)
    last: int | None = None


class Timeline:
    """Schedules and fires all items of a timeline.

    Args:
        items: what the scenario says.
        ledger: each action gets its line.
        streams: each item draws from a stream of its own.

    Attributes:
        fired: what has acted when.
    """

    def __init__(
        self,
        items: tuple[Item, ...],
        engine: Engine,
        hooks: Hooks,
        namer: Namer,
        network: NetworkActions,
        nodes: NodeActions,
        messages: MessageActions,
        operator: Operator,
        ledger: Ledger,
        streams: Streams,
    ) -> None:
        self._engine = engine
        self._hooks = hooks
        self._namer = namer
        self._network = network
        self._nodes = nodes
        self._messages = messages
        self._operator = operator
        self.fired = Fired()
        self._lines = [
            _Line(
                item,
                [
                    ledger.declare(
                        f"timeline[{number}] {item.label or action.kind}",
                        required=not isinstance(action, REMEDIES)
                        and not (isinstance(action, LinkChange) and action.is_calm),
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
        for line in self._lines:
            item = line.item
            if item.when is not None:
                self._engine.at(microseconds(item.at_ms or 0.0), partial(self._arm, line))
                continue
            at_ms = item.at_ms if item.at_ms is not None else before + (item.after_ms or 0.0)
            before = at_ms
            self._engine.at(microseconds(at_ms), partial(self._fire_line, line))

    def _arm(self, line: _Line) -> None:
        trigger = line.item.when
        assert trigger is not None
        delay = microseconds(line.item.after_ms or 0.0)

        def act() -> None:
            if delay:
                self._engine.after(delay, partial(self._fire_line, line))
            else:
                self._engine.soon(partial(self._fire_line, line))

        def is_meant(node: int) -> bool:
            return trigger.node is None or self._names(trigger.node, node, line.rng)

        self._hooks.arm(trigger.event, Armed(trigger, is_meant, line.item.times or 1, act))

    def _names(self, selector: Selector, node: int, rng: Random) -> bool:
        try:
            return node in self._namer.resolve(selector, rng)
        except NotYet:
            return False

    def _fire_line(self, line: _Line) -> None:
        item = line.item
        if self._is_disarmed(line):
            return
        line.fired += 1
        if item.every_ms is not None and (item.times is None or line.fired < item.times):
            again = self._engine.now + microseconds(item.every_ms)
            if again <= line.until_us:
                self._engine.at(again, partial(self._fire_line, line))
        for action, fault in zip(item.actions, line.faults, strict=True):
            self._fire(line, action, fault)

    def _is_disarmed(self, line: _Line) -> bool:
        return self._engine.now > line.until_us

    def _fire(self, line: _Line, action: Action, fault: Fault) -> None:
        if self._is_disarmed(line):
            return
        try:
            undo = self._perform(action, fault, line)
        except NotYet:
            self._engine.after(_LOOK_AGAIN_US, partial(self._fire, line, action, fault))
            return
        self.fired.last = self._engine.now
        if isinstance(action, REMEDIES):
            self.fired.repairs.append(self._engine.now)
        if undo is None:
            return
        ends: list[int] = []
        if line.item.for_ms is not None:
            ends.append(self._engine.now + microseconds(line.item.for_ms))
        if isinstance(action, MessageAction) and line.item.until_ms is not None:
            ends.append(line.until_us)
        if ends:
            self._engine.at(min(ends), partial(self._undo, undo))

    def _undo(self, undo: Undo) -> None:
        self.fired.last = self._engine.now
        self.fired.repairs.append(self._engine.now)
        undo()

    def _perform(self, action: Action, fault: Fault, line: _Line) -> Undo | None:
        label, rng, network, nodes = line.item.label or "", line.rng, self._network, self._nodes
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
            case Clock():
                return nodes.clock(action, fault, rng)
            case _:
                self._perform_at_once(action, fault, rng, line.until_us)
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
            case Campaign():
                self._nodes.campaign(action, fault, rng)
            case TakeSnapshot():
                self._nodes.snapshot(action, fault, rng)
            case Operation():
                self._nodes.operation(action, fault, rng)
            case Join():
                self._nodes.join(action, fault)
            case AdminAction():
                self._operator.begin(action, fault, rng, until_us)
