"""Executes the timeline actions on disks and clocks: stalls, slow syncs, failures and damage; wrong times and drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

from qcore.sim.faults.ledger import Fault, Firing, Undo
from qcore.sim.faults.nodes.disk_damage import begin_errors, check_place, damage
from qcore.sim.faults.selector_resolver import SelectorResolver
from qcore.sim.scenario.actions.disk_clock_actions import (
    BitRot,
    ClockAction,
    ClockJump,
    DiskError,
    DiskRecover,
    DiskSlow,
    DiskStall,
    FullDisk,
)
from qcore.sim.world.random_streams import Streams
from qcore.sim.world.services import Services
from qcore.sim.world.simulated_node import SimulatedNode

#: Begins the keys of jumps among the faults of a clock.
_JUMP: Final = "jump by "


@dataclass(slots=True, frozen=True)
class _ClockSetting:
    """What a firing sets on a clock; None for what it leaves unchanged. A jump adds to the offset."""

    offset_us: int | None
    drift_ppm: int | None
    jump_us: int = 0


class DiskClockActions:
    """Disturbs and repairs disks and clocks, and traces this. Each public method executes one kind of action.

    A method that begins a fault returns a function that ends it.

    Args:
        services: the shared parts of the run.
        resolver: resolves symbolic names.
        nodes: the simulated nodes, by id.
        streams: for the extra latencies of slow disks, and what the faults of each node draw.
    """

    def __init__(
        self,
        services: Services,
        resolver: SelectorResolver,
        nodes: Mapping[int, SimulatedNode],
        streams: Streams,
    ) -> None:
        self._engine = services.engine
        self._trace = services.trace
        self._resolver = resolver
        self._nodes = nodes
        self._streams = streams
        # The active firings of each node, in the order in which they began.
        self._disk_firings: dict[int, list[Firing]] = {}
        self._clock_firings: dict[int, dict[Firing, _ClockSetting]] = {}
        self._base_clocks = {node: self._clock_of(node) for node in nodes}

    def disk(
        self, action: DiskStall | DiskSlow | DiskError | FullDisk, fault: Fault, rng: Random
    ) -> Undo:
        # A failing read makes a difference to a node that is down, and no other fault does.
        among = None if isinstance(action, DiskError) and action.on == "read" else self._up()
        ids = self._resolver.resolve(action.nodes, rng, among=among)
        firing = Firing(fault)
        note = ""
        for node in ids:
            disk = self._nodes[node].disk
            match action:
                case DiskStall():
                    disk.stall(firing)
                case DiskSlow():
                    disk.slow_down(action.extra_ms.sampler(self._stream(node, fault)), firing)
                case DiskError():
                    spent = partial(self._recover_disks, (node,), firing)
                    begin_errors(disk, action, firing, self._stream(node, fault), spent)
                    note = f"{action.on} fails"
                case FullDisk():
                    disk.failures.fill_up(firing, disk.durable, action.free_bytes)
                    note = f"{action.free_bytes} bytes are free"
            self._disk_firings.setdefault(node, []).append(firing)
        self._trace.fault(self._engine.now, "begin", fault.name, ids, [], note)
        return lambda: self._recover_disks(ids, firing)

    def bit_rot(self, action: BitRot, fault: Fault, rng: Random) -> None:
        """Damage disks. A start that finds the damage counts as an act."""
        ids = self._resolver.resolve(action.nodes, rng)
        for node in ids:
            check_place(self._nodes[node].disk, action)
        for node in ids:
            place = damage(self._nodes[node].disk, action, fault, self._stream(node, fault))
            self._trace.fault(self._engine.now, "act", fault.name, [node], [], f"damages {place}")

    def _stream(self, node: int, fault: Fault) -> Random:
        return self._streams.get(f"node/{node}/{fault.name}")

    def disk_recover(self, action: DiskRecover, fault: Fault, rng: Random) -> None:
        bad = tuple(self._disk_firings)
        ids = self._resolver.resolve_as_before(action.nodes, rng, bad)
        fault.acted += sum(node in bad for node in ids)
        self._recover_disks(ids)

    def _recover_disks(self, ids: tuple[int, ...], firing: Firing | None = None) -> None:
        """End what one firing did to these disks, or what all firings did."""
        for node in ids:
            firings = self._disk_firings.pop(node, [])
            left = [other for other in firings if firing not in (None, other)]
            if left:
                self._disk_firings[node] = left
            for other in firings:
                if other not in left:
                    self._trace.fault(self._engine.now, "end", other.fault.name, [node])
            self._nodes[node].disk.recover(firing)

    def clock(self, action: ClockAction | ClockJump, fault: Fault, rng: Random) -> Undo:
        ids = self._resolver.resolve(action.nodes, rng, among=self._up())
        firing = Firing(fault)
        if isinstance(action, ClockJump):
            jumps: list[str] = []
            low, high = round(action.by_ms.low_ms * 1000), round(action.by_ms.high_ms * 1000)
            for node in ids:
                jump = low if low == high else rng.randint(low, high)
                jumps.append(f"{jump / 1000:g} ms")
                self._clock_firings.setdefault(node, {})[firing] = _ClockSetting(None, None, jump)
                self._apply_clock(node)
            note = f"jump by {', '.join(jumps)}"
            self._trace.fault(self._engine.now, "begin", fault.name, ids, [], note)
            return lambda: self._end_clock(ids, firing)
        offset = None if action.offset_ms is None else round(action.offset_ms * 1000)
        for node in ids:
            setting = _ClockSetting(offset, action.drift_ppm)
            self._clock_firings.setdefault(node, {})[firing] = setting
            self._apply_clock(node)
        note = f"offset {action.offset_ms} ms, drift {action.drift_ppm} ppm"
        self._trace.fault(self._engine.now, "begin", fault.name, ids, [], note)
        return lambda: self._end_clock(ids, firing)

    def _up(self) -> list[int]:
        return [node for node, sim_node in self._nodes.items() if sim_node.up]

    def _clock_of(self, node: int) -> tuple[int, int, dict[str, Fault]]:
        """Offset and drift, and the faults that set them."""
        sim_node = self._nodes[node]
        clock = sim_node.clock
        return clock.wall_offset_us, clock.drift_ppm, dict(sim_node.clock_faults)

    def _end_clock(self, ids: tuple[int, ...], firing: Firing) -> None:
        for node in ids:
            del self._clock_firings[node][firing]
            self._apply_clock(node)
        self._trace.fault(self._engine.now, "end", firing.fault.name, ids)

    def _apply_clock(self, node: int) -> None:
        """Set a clock as the scenario has it, changed by each active firing in their order."""
        offset, drift, base_faults = self._base_clocks[node]
        faults_by_setting = dict(base_faults)
        for firing, setting in self._clock_firings[node].items():
            if setting.offset_us not in (None, offset):
                offset, faults_by_setting["offset"] = setting.offset_us, firing.fault
                for key in [key for key in faults_by_setting if key.startswith(_JUMP)]:
                    del faults_by_setting[key]
            if setting.jump_us:
                offset += setting.jump_us
                faults_by_setting[f"{_JUMP}{firing.fault.name}"] = firing.fault
            if setting.drift_ppm not in (None, drift):
                drift, faults_by_setting["drift"] = setting.drift_ppm, firing.fault
        self._nodes[node].clock_faults = faults_by_setting
        self._set_clock(node, offset, drift)

    def _set_clock(self, node: int, offset_us: int, drift_ppm: int) -> None:
        sim_node = self._nodes[node]
        sim_node.clock.wall_offset_us = offset_us
        if drift_ppm != sim_node.clock.drift_ppm:
            sim_node.clock.set_drift(self._engine.now, drift_ppm)
            sim_node.clock_changed()
        if self._trace.takes_details:
            now = self._engine.now
            self._trace.clock(now, node, sim_node.clock.ahead_us(now), drift_ppm)
