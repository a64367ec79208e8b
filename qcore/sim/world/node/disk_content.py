"""What the disk of a simulated node holds, with the damage that faults did to it, and how a start reads it.

Every entry, snapshot and write has a checksum on the disk, as in the storage of a real node. So a start notices two
kinds of damage:

- **Rot**: a bit of an entry or of the snapshot has changed. The start is refused, with the error of real storage.
- **A torn write**: only a part of the last write had reached the disk when the power failed. The start cuts this part
  away. The write was never acknowledged, because it was never synced.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from random import Random

from qcore.compiled_build import register_copies
from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog, Write
from qcore.core.entry import DurableState, Entry, Snapshot
from qcore.core.log.disk_errors import log_corrupt
from qcore.core.log.durable_state import apply_write, last_index
from qcore.sim.faults.ledger import Fault


@dataclass(frozen=True)
class _Rot:
    """The fault that flipped a bit, and the number that chooses the bit."""

    fault: Fault
    place: int


@dataclass(frozen=True)
class _TornWrite:
    """The part of a write that reached the disk, and the checksum of the whole write."""

    part: Write
    checksum: int


class DiskContent:
    """The state on one disk.

    Args:
        state: what it holds at first.
        where: the name of the disk, for messages.

    Attributes:
        state: everything that was stored, without damage. Change it only with `store` and `wipe`.
    """

    def __init__(self, state: DurableState, where: str) -> None:
        self.state = state
        self._where = where
        self._rotten_entries: dict[int, _Rot] = {}
        self._rotten_snapshot: _Rot | None = None
        self._torn: _TornWrite | None = None

    @property
    def is_rotten(self) -> bool:
        """Whether a start would find rot."""
        return bool(self._rotten_entries) or self._rotten_snapshot is not None

    @property
    def is_torn(self) -> bool:
        """Whether the disk ends with a part of a write."""
        return self._torn is not None

    # -- changes ---------------------------------------------------------------------------------

    def store(self, write: Write) -> None:
        """Store a whole write. Where it replaces something rotten, the rot is gone."""
        apply_write(self.state, write)
        if self._rotten_entries and isinstance(write, TruncateLog | StoreSnapshot):
            held = self.state.entries
            first = held[0].index if held else last_index(self.state) + 1
            self._rotten_entries = {
                index: rot
                for index, rot in self._rotten_entries.items()
                if first <= index <= last_index(self.state)
            }
        if isinstance(write, StoreSnapshot):
            self._rotten_snapshot = None

    def tear(self, write: Write) -> None:
        """Store the first part of a write: the power failed in the middle of it."""
        self._torn = _TornWrite(_first_part(write), write_checksum(write))

    def rot_entry(self, entry: Entry, fault: Fault, rng: Random) -> None:
        """Flip a bit of an entry of `state`."""
        self._rotten_entries[entry.index] = _Rot(fault, rng.randrange(1 << 30))

    def rot_snapshot(self, fault: Fault, rng: Random) -> None:
        """Flip a bit of the snapshot, which must exist."""
        assert self.state.snapshot is not None, "there is a snapshot to damage"
        self._rotten_snapshot = _Rot(fault, rng.randrange(1 << 30))

    def wipe(self) -> None:
        """Become blank."""
        self.state = DurableState()
        self._rotten_entries, self._rotten_snapshot, self._torn = {}, None, None

    # -- a start ---------------------------------------------------------------------------------

    def read(self) -> DurableState:
        """What a process finds when it starts: a copy, which the caller may change. A torn write is cut away.

        Raises:
            LogCorrupt: a checksum is wrong; names the disk and the entry.
        """
        snapshot = self._read_snapshot()
        entries = [
            self._read_entry(entry) if entry.index in self._rotten_entries else entry
            for entry in self.state.entries
        ]
        torn, self._torn = self._torn, None
        if torn is not None and is_sound(torn.checksum, write_checksum(torn.part)):
            apply_write(self.state, torn.part)
            return self.read()
        hard_state = self.state.hard_state
        commit = min(hard_state.commit, last_index(self.state))
        return DurableState(replace(hard_state, commit=commit), snapshot, entries)

    def _read_snapshot(self) -> Snapshot | None:
        rot, snapshot = self._rotten_snapshot, self.state.snapshot
        if rot is None or snapshot is None:
            return snapshot
        data = _flipped(str(snapshot.data), rot.place)
        if not is_sound(_crc(str(snapshot.data)), _crc(data)):
            rot.fault.acted += 1
            what = f"the snapshot through entry {snapshot.meta.last_included_index}"
            raise log_corrupt(self._where, what, "its checksum is wrong")
        return Snapshot(snapshot.meta, data)

    def _read_entry(self, entry: Entry) -> Entry:
        rot = self._rotten_entries[entry.index]
        if entry.data:
            found = replace(entry, data=_flipped(entry.data, rot.place))
        else:
            found = replace(entry, time_us=entry.time_us ^ 1 << rot.place % 32)
        stored, computed = entry_checksum(entry), entry_checksum(found)
        if not is_sound(stored, computed):
            rot.fault.acted += 1
            why = f"checksum {stored}, computed {computed}"
            raise log_corrupt(self._where, f"entry {entry.index}", why)
        return found


def is_sound(stored: int, computed: int) -> bool:
    """Whether the checksum on the disk is that of what the disk returned."""
    return stored == computed


def entry_checksum(entry: Entry) -> int:
    """The checksum that the disk keeps for an entry."""
    return _crc(
        f"{entry.index} {entry.term} {entry.kind} {entry.time_us} {entry.clock_us} {entry.data}{entry.user}"
    )


def write_checksum(write: Write) -> int:
    """The checksum that the disk keeps for a whole write."""
    match write:
        case AppendLog(entries=entries):
            return _crc(" ".join(str(entry_checksum(entry)) for entry in entries))
        case StoreSnapshot(snapshot=snapshot):
            return _crc(f"{snapshot.meta} {snapshot.data}")
        case _:
            return _crc(f"{write}")


def _crc(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _flipped(text: str, place: int) -> str:
    """The text with the lowest bit of one character flipped."""
    at = place % len(text) if text else 0
    return text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :] if text else "\1"


def _first_part(write: Write) -> Write:
    """What is on the disk when the power fails in the middle of a write: about half of its bytes."""
    match write:
        case AppendLog(entries=entries) if entries:
            whole, last = entries[: len(entries) // 2], entries[len(entries) // 2]
            half = replace(last, data=last.data[: len(last.data) // 2], time_us=0)
            return replace(write, entries=[*whole, half])
        case StoreSnapshot(snapshot=snapshot):
            text = str(snapshot.data)
            return replace(write, snapshot=Snapshot(snapshot.meta, text[: len(text) // 2]))
        case SaveHardState(hard_state=hard_state):
            half_written = replace(hard_state, voted_for=None)
            return SaveHardState(-write.write_id, half_written)
        case _:
            return replace(write, write_id=-write.write_id)


register_copies(globals())
