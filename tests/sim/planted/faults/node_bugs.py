"""Bugs to plant in nodes, clocks and disks. Each takes a `MonkeyPatch` and changes one function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from qcore.core.effects import Send
from qcore.core.entry import DurableState
from qcore.core.events import Tick
from qcore.errors import StorageError
from qcore.machines.interface import ApplyContext, StateMachine
from qcore.machines.register import RegisterMachine
from qcore.replica.events import ReplicaEffect, ReplicaEvent
from qcore.replica.messages import PeerMessage
from qcore.replica.replica import Replica
from qcore.sim.world.node import disk as disk_module
from qcore.sim.world.node import disk_content, node_machine, sim_node
from qcore.sim.world.node.disk import SimDisk
from qcore.sim.world.node.event_queue import EventQueue
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.node.node_effects import NodeEffects
from qcore.sim.world.node.peer_connections import StoredIdentity

Patch = pytest.MonkeyPatch
#: Fewer entries than a cluster has that is in use.
_NEW_LOG = 4


def none(patch: Patch) -> None:
    """No bug in the code: the scenario turns a safeguard off."""


def forgets_the_last_entry(patch: Patch) -> None:
    """A start loses the end of the log."""
    _change_load(patch, _without_last)


def forgets_at_the_fourth_start(patch: Patch) -> None:
    """Every start from the fourth on loses the end of the log."""
    starts: dict[SimDisk, int] = {}

    def change(disk: SimDisk, state: DurableState) -> DurableState:
        starts[disk] = starts.get(disk, 0) + 1
        return _without_last(disk, state) if starts[disk] > 3 else state

    _change_load(patch, change)


def commits_its_whole_log(patch: Patch) -> None:
    """A start takes everything in the log for committed."""

    def change(_disk: SimDisk, state: DurableState) -> DurableState:
        end = state.entries[-1].index
        return replace(state, hard_state=replace(state.hard_state, commit=end))

    _change_load(patch, change)


def starts_empty_if_unreadable(patch: Patch) -> None:
    """A start from a disk that cannot be read begins with an empty log."""
    original = SimDisk.load

    def load(disk: SimDisk) -> DurableState:
        try:
            return original(disk)
        except StorageError:
            disk.content.wipe()
            return DurableState()

    patch.setattr(SimDisk, "load", load)


def verifies_no_checksum(patch: Patch) -> None:
    """The storage reads whatever the disk returns."""
    patch.setattr(disk_content, "is_sound", lambda _stored, _computed: True)


def ignores_errors_of_the_disk(patch: Patch) -> None:
    """A failed write or sync counts as done."""

    def fail(disk: SimDisk, _error: StorageError) -> None:
        writes, disk._waiting = disk._waiting, []
        disk.on_durable(writes[-1].write_id)

    patch.setattr(SimDisk, "_fail", fail)


def stops_on_a_full_disk(patch: Patch) -> None:
    """A full disk stops the node, as an I/O error does."""
    patch.setattr(disk_module, "waits_for_space", lambda _error: False)


def waits_for_the_disk_for_half_a_second(patch: Patch) -> None:
    """A message that waits for a write is sent after half a second, although the write is not durable."""

    def send(effects: NodeEffects, effect: Send) -> None:
        if effects._gate.admit(effect):
            effects._transmit(effect.to, cast(PeerMessage, effect.message))
        else:
            effects._engine.after(
                500_000, lambda: effects._transmit(effect.to, cast(PeerMessage, effect.message))
            )

    patch.setattr(NodeEffects, "_send", send)


def keeps_its_identity_when_wiped(patch: Patch) -> None:
    """The others do not recognise a node that has lost its disk."""

    def wipe(identity: StoredIdentity) -> None:
        identity.known = {}

    patch.setattr(StoredIdentity, "wipe", wipe)


def keeps_its_state_over_a_restart(patch: Patch) -> None:
    """The state machine is in memory that outlives the process, and the log is applied to it again."""
    machines: dict[int, StateMachine] = {}
    original = node_machine.hashed_machine

    # Any: passes the other arguments on.
    def hashed_machine(node: int, inner: StateMachine, *others: Any) -> Any:
        return original(node, machines.setdefault(node, inner), *others)

    patch.setattr(sim_node, "hashed_machine", hashed_machine)


def applies_by_its_wall_clock(patch: Patch) -> None:
    """Each command also stores the time of the node's wall clock, in units of a thousand seconds."""
    shown = _wall_clock(patch)
    apply = RegisterMachine.apply

    def applying(machine: RegisterMachine, command: str, context: ApplyContext) -> str:
        time = shown[0] // 1_000_000_000
        apply(machine, f'{{"op":"set","key":"time","value":{time}}}', context)
        return apply(machine, command, context)

    patch.setattr(RegisterMachine, "apply", applying)


def uses_the_wall_clock_for_timers(patch: Patch) -> None:
    """Timers follow the wall clock."""
    local, true_at = NodeClock.local, NodeClock.true_at
    patch.setattr(NodeClock, "local", lambda clock, us: local(clock, us) + clock.wall_offset_us)
    patch.setattr(NodeClock, "true_at", lambda clock, us: true_at(clock, us - clock.wall_offset_us))


def ignores_commands_that_come_late(patch: Patch) -> None:
    """A node ignores a command that it applies more than 150 ms after its time stamp, by its own clock."""
    shown = _wall_clock(patch)
    apply = RegisterMachine.apply

    def applying(machine: RegisterMachine, command: str, context: ApplyContext) -> str:
        if shown[0] > context.time_us + 150_000:
            return '{"ok":false,"error":"too late"}'
        return apply(machine, command, context)

    patch.setattr(RegisterMachine, "apply", applying)


def fires_timers_before_it_looks_at_messages(patch: Patch) -> None:
    """A process that continues looks at its timers before the messages that it received meanwhile."""
    process = EventQueue._process_events

    # Any: the waiting events with their faults.
    def processing(queue: EventQueue, waiting: Any) -> None:
        process(queue, sorted(waiting, key=lambda one: not isinstance(one[0], Tick)))

    patch.setattr(EventQueue, "_process_events", processing)


def _wall_clock(patch: Patch) -> list[int]:
    """A list of one number: what the wall clock shows to the replica that makes a step."""
    shown = [0]
    step = Replica.step

    def stepping(
        replica: Replica, events: list[ReplicaEvent], now: int, wall_us: int
    ) -> list[ReplicaEffect]:
        shown[0] = wall_us
        return step(replica, events, now, wall_us)

    patch.setattr(Replica, "step", stepping)
    return shown


def _change_load(patch: Patch, change: Callable[[SimDisk, DurableState], DurableState]) -> None:
    """Change what a start finds, except for a new cluster."""
    original = SimDisk.load

    def load(disk: SimDisk) -> DurableState:
        state = original(disk)
        return change(disk, state) if len(state.entries) > _NEW_LOG else state

    patch.setattr(SimDisk, "load", load)


def _without_last(disk: SimDisk, state: DurableState) -> DurableState:
    disk.durable.entries.pop()
    return replace(state, entries=state.entries[:-1])
