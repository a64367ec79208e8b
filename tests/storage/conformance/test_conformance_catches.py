"""The public suite finds faults: each storage here has one fault, and fails the test that is named for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog, Write
from qcore.core.entry import DurableState, Snapshot
from qcore.core.log.durable_state import apply_write, last_index
from qcore.errors import DiskFull, StorageError
from qcore.storage.interface import Identity, LogStorage
from qcore.storage.log_outline import LogOutline
from qcore.storage.memory import MemoryStorage
from qcore.testing.conformance.storage_conformance import (
    NODE_ID,
    Opener,
    StorageConformance,
    failures,
)
from tests.checkout import EXAMPLES
from tests.examples import load_example


class AcceptsInvalidWrites(MemoryStorage):
    """Accepts every write."""

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        self._outline = LogOutline(1, last_index(self._state))
        for write in writes:
            if isinstance(write, AppendLog):
                self._state.entries.extend(write.entries)
            else:
                apply_write(self._state, write)
        super().write([], commit)


class AppliesAPartOfARejectedCall(MemoryStorage):
    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        for write in writes:
            super().write([write])
        super().write([], commit)


class KeepsTheLogAfterALeadersSnapshot(MemoryStorage):
    """Stores the snapshot, but does not discard the conflicting log."""

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        tail = list(self._state.entries)
        super().write(writes, commit)
        if any(isinstance(write, StoreSnapshot) and write.reset_log for write in writes):
            self._state.entries = tail


class NeverDropsEntries(MemoryStorage):
    """Ignores the order to compact."""

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        for_the_log = [
            replace(write, compact_through=0) if isinstance(write, StoreSnapshot) else write
            for write in writes
        ]
        super().write(for_the_log, commit)


class KeepsTheFirstSnapshot(MemoryStorage):
    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        first = self._state.snapshot
        super().write(writes, commit)
        self._state.snapshot = first or self._state.snapshot


class TruncatesLargeSnapshots(MemoryStorage):
    """Like a storage with a maximum row size that it does not check."""

    def load(self) -> DurableState:
        state = super().load()
        if state.snapshot is not None:
            state.snapshot = Snapshot(state.snapshot.meta, state.snapshot.data[:1_000_000])
        return state


class ConfusesVoteZeroWithNoVote(MemoryStorage):
    def load(self) -> DurableState:
        state = super().load()
        vote = state.hard_state.voted_for or None
        state.hard_state = replace(state.hard_state, voted_for=vote)
        return state


class LowersTheStoredCommitIndex(MemoryStorage):
    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        super().write(writes, commit)
        if commit is not None:
            self._state.hard_state.commit = commit


class SharesItsListWithTheCaller(MemoryStorage):
    def load(self) -> DurableState:
        self._require_open()
        return self._state


class KeepsTheCallersObjects(MemoryStorage):
    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        super().write(writes, commit)
        for write in writes:
            if isinstance(write, SaveHardState):
                self._state.hard_state = write.hard_state


class LosesItsLastWrite(MemoryStorage):
    """Loses the unsynced last write at a restart."""

    def __init__(self, node_id: int) -> None:
        super().__init__(node_id)
        self._synced = DurableState()

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        self._synced = super().load()
        super().write(writes, commit)

    def reopen(self) -> MemoryStorage:
        self._state = self._synced
        self._outline = LogOutline.of(self._state)
        return super().reopen()


class DoesTruncationsLast(MemoryStorage):
    """Sorts a call by kind, as if the order did not matter."""

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        in_wrong_order = sorted(writes, key=lambda write: isinstance(write, TruncateLog))
        super().write(in_wrong_order, commit)


class JoinsAnyCluster(MemoryStorage):
    def join_cluster(self, cluster_id: str) -> None:
        self._identity = Identity(self._identity.node_id, cluster_id)


class MayBeOpenedTwice(MemoryStorage):
    def reopen(self) -> MemoryStorage:
        self._closed = False
        return self


class WorksWhenClosed(MemoryStorage):
    def _require_open(self) -> None:
        pass


class LoadsTheCommitIndexAsStored(MemoryStorage):
    def load(self) -> DurableState:
        state = super().load()
        state.hard_state = replace(self._state.hard_state)
        return state


@pytest.mark.parametrize(
    ("broken", "found_by"),
    [
        (AcceptsInvalidWrites, "test_gap_rejects_the_whole_call"),
        (AppliesAPartOfARejectedCall, "test_gap_within_an_append_is_rejected"),
        (
            KeepsTheLogAfterALeadersSnapshot,
            "test_leaders_snapshot_resets_a_short_or_conflicting_log",
        ),
        (NeverDropsEntries, "test_snapshot_replaces_the_named_prefix"),
        (KeepsTheFirstSnapshot, "test_newer_snapshot_replaces_the_older"),
        (TruncatesLargeSnapshots, "test_large_snapshot_survives"),
        (ConfusesVoteZeroWithNoVote, "test_hard_state_survives_with_or_without_a_vote"),
        (LowersTheStoredCommitIndex, "test_commit_never_goes_back"),
        (SharesItsListWithTheCaller, "test_loaded_state_belongs_to_the_caller"),
        (KeepsTheCallersObjects, "test_written_data_belongs_to_the_storage"),
        (LosesItsLastWrite, "test_truncation_removes_the_tail"),
        (DoesTruncationsLast, "test_writes_of_one_call_happen_in_order"),
        (JoinsAnyCluster, "test_another_cluster_is_rejected_naming_both"),
        (MayBeOpenedTwice, "test_second_open_is_rejected_while_the_first_is_open"),
        (WorksWhenClosed, "test_close_is_idempotent_and_final"),
        (LoadsTheCommitIndexAsStored, "test_commit_beyond_the_log_is_lowered_on_load"),
    ],
)
def test_a_fault_is_found(broken: type[MemoryStorage], found_by: str) -> None:
    class Suite(StorageConformance):
        examples = 5

        def make(self) -> Opener:
            storage = broken(NODE_ID)
            storage.close()
            return storage.reopen

    assert failures(Suite(), found_by)


def test_a_sound_storage_has_no_failures() -> None:
    class Suite(StorageConformance):
        examples = 5

        def make(self) -> Opener:
            storage = MemoryStorage(NODE_ID)
            storage.close()
            return storage.reopen

    assert failures(Suite()) == {}


# -- a full disk ---------------------------------------------------------------------------------------


class MayBeFull(MemoryStorage):
    """A correct storage that rejects whole calls while `is_full` is set."""

    is_full = False

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        self._find_space()
        super().write(writes, commit)

    def join_cluster(self, cluster_id: str) -> None:
        self._find_space()
        super().join_cluster(cluster_id)

    def _find_space(self) -> None:
        if self.is_full:
            raise DiskFull("no space")


class AppliesAPartWithoutSpace(MayBeFull):
    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        if self.is_full:
            MemoryStorage.write(self, writes[:1])
        super().write(writes, commit)


class AppliesAllWithoutSpace(MayBeFull):
    """Applies the call before it reports that there is no space. So the call is then done twice."""

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        MemoryStorage.write(self, writes, commit)
        self._find_space()


class IgnoresWritesWithoutSpace(MayBeFull):
    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        if not self.is_full:
            super().write(writes, commit)


class FailsForEverOnAFullDisk(MayBeFull):
    failed = False

    def _find_space(self) -> None:
        if self.failed:
            raise StorageError("failed earlier")
        self.failed = self.is_full
        super()._find_space()


class JoinsWithoutSpace(MayBeFull):
    def join_cluster(self, cluster_id: str) -> None:
        MemoryStorage.join_cluster(self, cluster_id)
        self._find_space()


class LosesTheLogWhenItJoins(MayBeFull):
    def join_cluster(self, cluster_id: str) -> None:
        super().join_cluster(cluster_id)
        self._state = DurableState()
        self._outline = LogOutline()


TRIED_AGAIN = "test_a_call_without_space_may_be_tried_again"
JOINED = "test_joining_without_space_succeeds_or_may_be_tried_again"


class FullSuite(StorageConformance):
    examples = 5
    storage: type[MayBeFull] = MayBeFull

    def make(self) -> Opener:
        storage = self.storage(NODE_ID)
        storage.close()
        return storage.reopen

    @contextmanager
    def no_space(self, storage: LogStorage) -> Iterator[None]:
        assert isinstance(storage, MayBeFull)
        storage.is_full = True
        yield
        storage.is_full = False


@pytest.mark.parametrize(
    ("broken", "found_by"),
    [
        (AppliesAPartWithoutSpace, TRIED_AGAIN),
        (AppliesAllWithoutSpace, TRIED_AGAIN),
        (IgnoresWritesWithoutSpace, TRIED_AGAIN),
        (FailsForEverOnAFullDisk, TRIED_AGAIN),
        (JoinsWithoutSpace, JOINED),
        (LosesTheLogWhenItJoins, "test_joining_after_a_rejected_call_keeps_the_log"),
    ],
)
def test_a_fault_on_a_full_disk_is_found(broken: type[MayBeFull], found_by: str) -> None:
    class Suite(FullSuite):
        storage = broken

    assert failures(Suite(), found_by)


def test_a_sound_storage_on_a_full_disk_has_no_failures() -> None:
    assert failures(FullSuite()) == {}


# -- on files: the storage of the examples, correct and with three faults -----------------------------

json_storage = load_example("json_storage")


def suite_of(scratch: Path, wrap: type) -> StorageConformance:
    class Suite(StorageConformance):
        examples = 10
        kills = 4
        damages = 30
        outlives_process = True
        count = 0

        def make(self) -> Opener:
            self.count += 1
            directory = scratch / str(self.count)

            def opener() -> LogStorage:
                storage: LogStorage = wrap(directory, NODE_ID)
                return storage

            return opener

        def files(self) -> Sequence[Path]:
            return [scratch / str(self.count) / "log.json"]

    return Suite()


def test_documented_command_checks_the_example_storage(scratch: Path) -> None:
    suite = EXAMPLES / "test_json_storage.py"
    assert (
        f"pytest examples/{suite.name}"
        in (EXAMPLES.parent / "docs" / "reference" / "api.md").read_text()
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--basetemp", str(scratch / "tmp"), str(suite)],
        cwd=EXAMPLES.parent,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_a_file_that_is_written_in_place_is_found(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between two parts of a write leaves half a file."""

    def in_place(self: object, content: object) -> None:
        text = json_storage._CONTENT.dump_json(content)
        path: Path = self._path  # type: ignore[attr-defined]  # the example's class is loaded by path
        with open(path, "wb", buffering=0) as file:
            file.write(b"%08x\n" % json_storage.crc32(text))
            for at in range(0, len(text), 4096):
                file.write(text[at : at + 4096])
        self._content = content  # type: ignore[attr-defined]  # as above

    monkeypatch.setattr(json_storage.JsonStorage, "_replace", in_place)
    suite = suite_of(scratch, json_storage.JsonStorage)
    suite.kills = 60
    with pytest.raises((AssertionError, json_storage.StorageError)):
        suite.test_a_killed_writer_leaves_the_state_before_or_after_a_call()


def test_a_file_without_a_checksum_is_found(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_storage, "crc32", lambda _text: 0)
    assert failures(suite_of(scratch, json_storage.JsonStorage), "test_changed_bytes")


def test_a_missing_lock_is_found(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_storage.fcntl, "flock", lambda _file, _how: None)
    assert failures(suite_of(scratch, json_storage.JsonStorage), "test_second_open")
