"""`VersionedKeys`: the keys of the key-value machine, with their earlier versions.

Each change has a revision, and the changes of one transaction share theirs. A key keeps its earlier versions, so the
state can be read as of an earlier revision, and a watch can begin at one. Compaction ends that: from then on, revisions
below the compacted one cannot be read. The versions that cannot be read any more are freed a few at a time, by the
changes that follow.

This is the model of etcd: `create_revision`, `mod_revision`, `version` and tombstones mean the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from heapq import merge
from typing import Final

from qcore.errors import RevisionCompacted, RevisionInFuture
from qcore.machines.kv.key_index import KeyIndex
from qcore.machines.kv.texts import json_of
from qcore.machines.state_digest import digest_term

_MASK: Final = (1 << 256) - 1
#: About the bytes of a version in a snapshot, besides its key and value.
VERSION_BYTES: Final = 40
#: How many versions one change frees at most, besides one for each version that it adds.
FREED_PER_CHANGE: Final = 64


class Version:
    """A key as one change left it. Never changed, except that `previous` is cut when it is freed.

    Attributes:
        key: the key.
        revision: the revision of the change (`mod_revision`).
        sequence: its position among the changes of that revision.
        created: the revision that created the key (`create_revision`); 0 for a deletion.
        number: 1 for the first value since the key was created, 2 for the second (`version`); 0 for a deletion.
        value: the value; None for a deletion.
        lease: the lease that deletes the key when it ends; 0 for none.
        previous: the version before this one, if it is still kept.
    """

    __slots__ = ("created", "key", "lease", "number", "previous", "revision", "sequence", "value")

    def __init__(
        self,
        key: bytes,
        revision: int,
        sequence: int,
        created: int,
        number: int,
        value: bytes | None,
        lease: int,
        previous: Version | None,
    ) -> None:
        self.key = key
        self.revision = revision
        self.sequence = sequence
        self.created = created
        self.number = number
        self.value = value
        self.lease = lease
        self.previous = previous

    @property
    def place(self) -> tuple[int, int]:
        """Its position among all changes."""
        return self.revision, self.sequence

    @property
    def size_bytes(self) -> int:
        """About the bytes that it takes in a snapshot."""
        return VERSION_BYTES + len(self.key) + (0 if self.value is None else len(self.value))

    def text(self) -> str:
        """The version as JSON; it identifies the version."""
        value = "null" if self.value is None else json_of(self.value)
        numbers = f"{self.revision},{self.sequence},{self.created},{self.number},{self.lease}"
        return f"[{json_of(self.key)},{numbers},{value}]"


class VersionedKeys:
    """All keys, and their history.

    Args:
        max_changes, max_bytes: how much history is kept, at most; see `keep`.

    Attributes:
        revision: the newest revision that changed something.
        compacted: the oldest revision that can be read.
        state_bytes: about the bytes of all versions in a snapshot.
    """

    def __init__(self, max_changes: int, max_bytes: int) -> None:
        self.max_changes = max_changes
        self.max_bytes = max_bytes
        self.revision = self.compacted = 0
        self.state_bytes = 0
        #: The newest version of each key that has one, deletions too.
        self._heads: dict[bytes, Version] = {}
        self._live = KeyIndex()
        #: The keys that are deleted, and whose deletion is still in the history.
        self._deleted = KeyIndex()
        #: The changes that are kept, oldest first; those before `_begin` are freed.
        self._changes: list[Version] = []
        self._begin = 0
        self._history_bytes = 0
        self._digest_sum = 0
        #: Versions that the digest lacks.
        self._undigested: dict[Version, None] = {}

    def __len__(self) -> int:
        """The number of keys."""
        return len(self._live)

    @property
    def history_changes(self) -> int:
        """The number of changes that are kept."""
        return len(self._changes) - self._begin

    # -- reads -----------------------------------------------------------------------------------

    def require_readable(self, revision: int) -> None:
        """Raise unless the state at this revision can be read.

        Raises:
            RevisionCompacted, RevisionInFuture: it cannot.
        """
        if revision < self.compacted:
            raise self._compacted_error(revision)
        if revision > self.revision:
            raise RevisionInFuture(
                f"revision {revision} does not exist yet; the newest is {self.revision}",
                self.revision,
            )

    def get(self, key: bytes, revision: int | None = None) -> Version | None:
        """The key, or None if there is no such key.

        Args:
            key: the key.
            revision: as of this revision, which must be readable; None for now.
        """
        version = self._heads.get(key)
        if revision is not None:
            while version is not None and version.revision > revision:
                version = version.previous
        return version if version is not None and version.number else None

    def scan(
        self, begin: bytes, end: bytes | None, *, descending: bool = False
    ) -> Iterator[Version]:
        """The keys of a range in order. Nothing may change meanwhile.

        Args:
            begin, end: the range; see `KeyIndex`.
            descending: the largest key first.
        """
        walk = KeyIndex.descending if descending else KeyIndex.ascending
        for key in walk(self._live, begin, end):
            yield self._heads[key]

    def scan_at(
        self, revision: int, begin: bytes, end: bytes | None, *, descending: bool = False
    ) -> Iterator[tuple[bytes, Version | None]]:
        """The keys of a range in order as of a revision, which must be readable. Nothing may change meanwhile.

        Args:
            revision: the revision.
            begin, end, descending: see `scan`.

        Yields:
            a key, and its version at the revision; None if it has none, so that the caller can bound the work.
        """
        walk = KeyIndex.descending if descending else KeyIndex.ascending
        keys = merge(
            walk(self._live, begin, end), walk(self._deleted, begin, end), reverse=descending
        )
        for key in keys:
            yield key, self.get(key, revision)

    def count(self, begin: bytes, end: bytes | None, *, deleted: bool = False) -> int:
        """The number of keys in a range now; with `deleted`, also of those whose deletion is still in the history."""
        live = self._live.count(begin, end)
        return live + self._deleted.count(begin, end) if deleted else live

    def changes_from(self, revision: int) -> Iterator[Version]:
        """The changes from a revision on, which is not below `compacted`, oldest first."""
        at = bisect_left(self._changes, revision, lo=self._begin, key=_revision)
        for number in range(at, len(self._changes)):
            yield self._changes[number]

    # -- changes ---------------------------------------------------------------------------------

    def put(self, key: bytes, value: bytes, lease: int, revision: int, sequence: int) -> Version:
        """Set a key. The revision is not below that of any change before."""
        held = self._heads.get(key)
        if held is None or not held.number:
            if held is not None:
                self._deleted.remove(key)
            self._live.add(key)
            version = Version(key, revision, sequence, revision, 1, value, lease, held)
        else:
            version = Version(
                key, revision, sequence, held.created, held.number + 1, value, lease, held
            )
        self._add(version)
        return version

    def delete(self, key: bytes, revision: int, sequence: int) -> Version:
        """Delete a key that exists. The revision is not below that of any change before."""
        self._live.remove(key)
        self._deleted.add(key)
        version = Version(key, revision, sequence, 0, 0, None, 0, self._heads[key])
        self._add(version)
        return version

    def keep(self, max_changes: int, max_bytes: int) -> None:
        """Keep a history of at most this many changes, and of this many bytes, and always the newest transaction.

        What exceeds this is compacted with the next changes.
        """
        self.max_changes, self.max_bytes = max_changes, max_bytes

    def compact(self, revision: int) -> None:
        """Make the revisions below this one unreadable.

        Raises:
            RevisionCompacted: they are already, and the revision itself, too.
            RevisionInFuture: it does not exist yet.
        """
        if revision <= self.compacted:
            raise self._compacted_error(revision)
        self.require_readable(revision)
        self.compacted = revision

    def free_some(self, added: int) -> None:
        """Compact what exceeds the bounds, and free some of what is compacted. Call this after each transaction.

        Args:
            added: how many versions the transaction added.
        """
        for _ in range(FREED_PER_CHANGE + added):
            if self._begin == len(self._changes):
                break
            oldest = self._changes[self._begin]
            exceeds = (
                self.history_changes > self.max_changes or self._history_bytes > self.max_bytes
            )
            if exceeds and self.compacted <= oldest.revision < self.revision:
                self.compacted = oldest.revision + 1
            if oldest.revision >= self.compacted:
                break
            self._free(oldest)
        if self._begin > 64 + len(self._changes) // 2:
            del self._changes[: self._begin]
            self._begin = 0

    def _compacted_error(self, revision: int) -> RevisionCompacted:
        return RevisionCompacted(
            f"revision {revision} is compacted; the oldest that can be read is {self.compacted}",
            self.compacted,
        )

    def _add(self, version: Version) -> None:
        self.revision = version.revision
        self._heads[version.key] = version
        self._changes.append(version)
        self._history_bytes += version.size_bytes
        self._count(version)

    def _free(self, oldest: Version) -> None:
        """Forget the oldest change: its version is now the first of its key."""
        self._begin += 1
        self._history_bytes -= oldest.size_bytes
        previous = oldest.previous
        if previous is not None:
            if previous.number:  # a deletion was freed before, as a separate change
                self._uncount(previous)
            oldest.previous = None
        if not oldest.number:
            self._uncount(oldest)
            if self._heads[oldest.key] is oldest:
                del self._heads[oldest.key]
                self._deleted.remove(oldest.key)

    def _count(self, version: Version) -> None:
        self.state_bytes += version.size_bytes
        self._undigested[version] = None

    def _uncount(self, version: Version) -> None:
        self.state_bytes -= version.size_bytes
        if version in self._undigested:
            del self._undigested[version]
        else:
            self._digest_sum = (self._digest_sum - digest_term(version.text().encode())) & _MASK

    # -- the whole state -------------------------------------------------------------------------

    def digest(self) -> str:
        """A digest of all versions that are kept. It costs time only for those that changed since the last call."""
        for version in self._undigested:
            self._digest_sum += digest_term(version.text().encode())
        self._undigested.clear()
        self._digest_sum &= _MASK
        return f"{self._digest_sum:064x}:{self.revision}:{self.compacted}:{self.history_changes}"

    def kept(self) -> tuple[list[Version], list[Version]]:
        """All versions as of this call: those before the history, and the history.

        The first list has the state before the oldest change that is kept. Its order means nothing.
        """
        history = self._changes[self._begin :]
        first = history[0].place if history else (self.revision + 1, 0)
        before = [version for version in self._heads.values() if version.place < first]
        for version in history:
            previous = version.previous
            if previous is not None and previous.number and previous.place < first:
                before.append(previous)
        return before, history

    def add_kept(self, version: Version, *, in_history: bool) -> None:
        """Add the next version of a snapshot: first those before the history, then the history."""
        held = self._heads.get(version.key)
        version.previous = held
        if held is not None:
            (self._live if held.number else self._deleted).remove(version.key)
        (self._live if version.number else self._deleted).add(version.key)
        self._heads[version.key] = version
        if in_history:
            self._changes.append(version)
            self._history_bytes += version.size_bytes
        self._count(version)


def _revision(version: Version) -> int:
    return version.revision
