"""Begins the failures of disks and damages what they hold."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from qcore.core.entry import Entry
from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.faults.selector_resolver import ActionNotReady
from qcore.sim.scenario.actions.disk_clock_actions import BitRot, DiskError
from qcore.sim.world.node.disk import SimDisk
from qcore.sim.world.node.disk_failures import IoErrors


def begin_errors(
    disk: SimDisk, action: DiskError, firing: Firing, rng: Random, spent: Callable[[], object]
) -> None:
    """Let operations of a disk fail.

    Args:
        disk: the disk.
        action: what fails, and how often.
        firing: the firing that ends this.
        rng: draws whether the writes of a failed sync survive.
        spent: called when the last operation has failed.
    """
    left = None if action.times == "all" else action.times

    def keeps_batch() -> bool:
        return rng.random() < 0.5 if action.survives == "random" else action.survives == "all"

    disk.failures.add_errors(IoErrors(firing, action.on, left, keeps_batch, spent))


def check_place(disk: SimDisk, action: BitRot) -> None:
    """Check that the disk holds what is to be damaged.

    Raises:
        ActionNotReady: it does not hold it yet.
    """
    if action.place == "snapshot":
        if disk.durable.snapshot is None:
            raise ActionNotReady("the disk has no snapshot yet")
    elif _entry(disk.durable.entries, action, None) is None:
        raise ActionNotReady("the disk has no such entry")


def damage(disk: SimDisk, action: BitRot, fault: Fault, rng: Random) -> str:
    """Flip a bit on the disk, which holds the place. Returns a text that names the place."""
    if action.place == "snapshot":
        disk.content.rot_snapshot(fault, rng)
        return "snapshot"
    entry = _entry(disk.durable.entries, action, rng)
    assert entry is not None, "`check_place` was called before"
    disk.content.rot_entry(entry, fault, rng)
    return f"entry {entry.index}"


def _entry(entries: list[Entry], action: BitRot, rng: Random | None) -> Entry | None:
    """The entry that the action names, or None; any if it is to be drawn and there is no generator."""
    if not entries:
        return None
    match action.entry:
        case "first":
            return entries[0]
        case "last":
            return entries[-1]
        case "random":
            return entries[0] if rng is None else rng.choice(entries)
        case index:
            offset = index - entries[0].index
            return entries[offset] if 0 <= offset < len(entries) else None
