"""The conformance suite that every `LogStorage` must pass. Needs `hypothesis`.

Subclass `StorageConformance` in a test module, override `make`, and let pytest collect it (or call the
`test_*` methods by hand):

    class TestMyStorage(StorageConformance):
        def make(self) -> Opener:
            self.directory = tempfile.mkdtemp()
            return lambda: MyStorage.open(self.directory, node_id=NODE_ID)

The suite cannot test two duties, because only you can cause these failures. After a failed sync, `write` must raise
`StorageError` and never write again. Data must survive a power loss (`kill -9` does not lose what the operating system
holds).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import HealthCheck, given, note, settings

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog, Write
from qcore.core.entry import DurableState, Entry, HardState, Membership, Snapshot, SnapshotMeta
from qcore.core.version import FIRST_VERSION, ClusterVersion
from qcore.errors import StorageError
from qcore.storage.interface import Identity, LogStorage
from qcore.testing.conformance.expectation_checks import require, require_equal
from qcore.testing.conformance.storage_crashes import StorageCrashes
from qcore.testing.conformance.storage_histories import StorageModel, StorageStep, histories
from qcore.testing.conformance.storage_rejections import StorageRejections
from qcore.testing.conformance.storage_space import StorageSpace
from qcore.testing.conformance.storage_tools import (
    NODE_ID,
    Opener,
    append,
    hard_state,
    rejects,
    reopened,
    snapshot_write,
    terms,
    written,
)

__all__ = ["NODE_ID", "Opener", "StorageConformance", "failures"]


class StorageConformance(StorageRejections, StorageCrashes, StorageSpace):
    """The tests that every `LogStorage` must pass. Override `make`.

    Each test creates a storage, writes, and checks it after a restart. If its data outlive the process, set
    `outlives_process` and override `files`. The suite then also kills writing processes with -9, and damages the files.
    If you can simulate a full disk, override `no_space`. The suite then also tests the storage on a full disk.
    """

    #: How many random histories are run.
    examples = 60

    def make(self) -> Opener:
        """An opener of new, empty data of node `NODE_ID`."""
        raise NotImplementedError("override make() and return an opener of a new, empty storage")

    # --- written data survive a restart

    def test_new_storage_is_empty(self) -> None:
        require_equal(reopened(self.make()), DurableState(), "reopened(self.make())")

    def test_loading_twice_gives_the_same(self) -> None:
        storage = self.make()()
        storage.write([hard_state(1), append(1, [1, 1])])
        require_equal(storage.load(), storage.load(), "storage.load()")
        storage.close()

    def test_loaded_state_belongs_to_the_caller(self) -> None:
        storage = self.make()()
        storage.write([hard_state(1), append(1, [1, 1])])
        loaded = storage.load()
        loaded.entries.clear()
        loaded.hard_state.term = 99
        again = storage.load()
        require_equal(
            (len(again.entries), again.hard_state.term),
            (2, 1),
            "(len(again.entries), again.hard_state.term)",
        )
        storage.close()

    def test_written_data_belongs_to_the_storage(self) -> None:
        """The core continues to use the lists and objects that it passes."""
        opener = self.make()
        storage = opener()
        hard, entries = HardState(1, 3, 0), append(1, [1, 1]).entries
        writes: list[Write] = [SaveHardState(1, hard), AppendLog(2, entries)]
        storage.write(writes)
        writes.clear()
        entries.clear()
        hard.term = 99
        storage.close()
        state = reopened(opener)
        require_equal(
            (len(state.entries), state.hard_state),
            (2, HardState(1, 3, 0)),
            "(len(state.entries), state.hard_state)",
        )

    def test_every_field_of_an_entry_survives(self) -> None:
        entries = [
            Entry(1, 1, "noop", "", 0),
            Entry(2, 1, "command", "plain", 1),
            Entry(3, 2**40, "membership", Membership(voters=(1, 2)).to_json(), 2**53 + 1),
            Entry(4, 2**40, "command", "\0 nul, ünï, 漢, \U0001f600, \r\n, '\"\\", 2**62),
            Entry(5, 2**62, "command", "x" * 300_000, 2**62),
            Entry(6, 2**62, "version", ClusterVersion(2, "register", 3).to_json(), 2**62),
            Entry(7, 2**62, "session", "", 2**62, 1),
            Entry(8, 2**62, "command", "\0 ünï", 2**62, 2**62),
            Entry(9, 2**62, "access", "{}", 2**62, 2**62, "a" * 64),
            Entry(10, 2**62, "command", "ünï", 2**62, 0, "ann@example.org"),
        ]
        opener = self.make()
        state = written(opener, [[hard_state(2**62), AppendLog(2, entries)]])
        require_equal(state.entries, entries, "state.entries")

    def test_hard_state_survives_with_or_without_a_vote(self) -> None:
        for vote in (None, 0, 3, 2**60):
            opener = self.make()
            state = written(opener, [[SaveHardState(1, HardState(5, vote, 0))]])
            require_equal(state.hard_state, HardState(5, vote, 0), "state.hard_state")

    def test_a_promise_survives_and_is_replaced(self) -> None:
        opener = self.make()
        calls = [[SaveHardState(1, HardState(5, None, 0, promise))] for promise in (0, 700, 2**40)]
        for call in calls:
            require_equal(
                written(opener, [call]).hard_state,
                call[0].hard_state,
                "written(opener, [call]).hard_state",
            )
        require_equal(
            written(opener, [[hard_state(6)]]).hard_state,
            HardState(6, None, 0),
            "written(opener, [[hard_state(6)]]).hard_state",
        )

    def test_later_hard_state_replaces_the_earlier(self) -> None:
        opener = self.make()
        state = written(opener, [[hard_state(5, vote=2)], [hard_state(6)]])
        require_equal(state.hard_state, HardState(6, None, 0), "state.hard_state")

    def test_writes_of_one_call_happen_in_order(self) -> None:
        opener = self.make()
        call: list[Write] = [
            hard_state(1),
            append(1, [1, 1, 1]),
            TruncateLog(3, 2),
            hard_state(2, vote=1),
            append(2, [2, 2]),
            append(4, [2]),
        ]
        state = written(opener, [call])
        require_equal(terms(state), [(1, 1), (2, 2), (3, 2), (4, 2)], "terms(state)")
        require_equal(state.hard_state, HardState(2, 1, 0), "state.hard_state")

    def test_nothing_to_write_is_no_error(self) -> None:
        opener = self.make()
        require_equal(
            written(opener, [[], [AppendLog(1, [])], []]),
            DurableState(),
            "written(opener, [[], [AppendLog(1, [])], []])",
        )

    # --- commit index

    def test_commit_is_stored_with_or_without_writes(self) -> None:
        opener = self.make()
        storage = opener()
        storage.write([hard_state(1), append(1, [1, 1, 1])], commit=1)
        require_equal(storage.load().hard_state.commit, 1, "storage.load().hard_state.commit")
        storage.write([], commit=2)
        storage.close()
        require_equal(
            reopened(opener).hard_state, HardState(1, None, 2), "reopened(opener).hard_state"
        )

    def test_commit_never_goes_back(self) -> None:
        opener = self.make()
        storage = opener()
        storage.write([hard_state(1), append(1, [1, 1, 1])], commit=3)
        storage.write([append(4, [1])], commit=2)
        storage.write([], commit=1)
        storage.close()
        require_equal(reopened(opener).hard_state.commit, 3, "reopened(opener).hard_state.commit")

    def test_commit_beyond_the_log_is_lowered_on_load(self) -> None:
        opener = self.make()
        state = written(opener, [[hard_state(1), append(1, [1, 1])]], commit=9)
        require_equal(state.hard_state.commit, 2, "state.hard_state.commit")

    # --- truncation

    def test_truncation_removes_the_tail(self) -> None:
        opener = self.make()
        state = written(opener, [[hard_state(1), append(1, [1] * 5)], [TruncateLog(3, 4)]])
        require_equal(terms(state), [(1, 1), (2, 1), (3, 1)], "terms(state)")

    def test_log_can_begin_again_after_truncation_of_everything(self) -> None:
        opener = self.make()
        calls: list[Sequence[Write]] = [
            [hard_state(3), append(1, [1, 2])],
            [TruncateLog(3, 1)],
            [append(1, [3])],
        ]
        require_equal(terms(written(opener, calls)), [(1, 3)], "terms(written(opener, calls))")

    def test_truncation_beyond_the_end_changes_nothing(self) -> None:
        opener = self.make()
        state = written(opener, [[hard_state(1), append(1, [1, 1])], [TruncateLog(3, 3)]])
        require_equal(len(state.entries), 2, "len(state.entries)")

    # --- snapshots

    def test_snapshot_replaces_the_named_prefix(self) -> None:
        opener = self.make()
        state = written(
            opener,
            [
                [hard_state(1), append(1, [1] * 6)],
                [StoreSnapshot(3, snapshot_write(4, 1), 4, False)],
            ],
        )
        require_equal(state.snapshot, snapshot_write(4, 1), "state.snapshot")
        require_equal(terms(state), [(5, 1), (6, 1)], "terms(state)")

    def test_every_field_of_a_snapshot_survives(self) -> None:
        membership = Membership(
            voters=(1, 2, 2**60),
            voters_outgoing=(1, 4),
            learners=(5,),
            learners_next=(4,),
            addresses=((1, "h:1"), (2, "[::1]:2"), (4, "ünï:4"), (5, "h:5"), (2**60, "h:6")),
            cluster_id="\0 'north\"",
        )
        snapshot = Snapshot(
            SnapshotMeta(2**40, 2**50, 2**62, membership), "\0 ünï 漢 \U0001f600\r\n"
        )
        for clock_us, version in ((0, FIRST_VERSION), (2**61, ClusterVersion(2, "register", 7))):
            meta = replace(snapshot.meta, last_included_clock_us=clock_us, version=version)
            expected = replace(snapshot, meta=meta)
            opener = self.make()
            calls: list[list[Write]] = [
                [hard_state(2**50), StoreSnapshot(3, expected, 2**40, True)]
            ]
            require_equal(
                written(opener, calls).snapshot, expected, "written(opener, calls).snapshot"
            )

    def test_large_snapshot_survives(self) -> None:
        """It has characters of one to four bytes, and several megabytes, which a storage may keep in parts."""
        for character in ("x", "ü", "漢", "\U0001f600"):
            data = character * 1_500_000 + "end"
            opener = self.make()
            calls: list[list[Write]] = [[hard_state(1), append(1, [1, 1, 1])]]
            calls.append([StoreSnapshot(3, snapshot_write(2, 1, data), 2, False), append(4, [1])])
            state = written(opener, calls)
            require_equal(state.snapshot, snapshot_write(2, 1, data), "state.snapshot")
            require_equal(terms(state), [(3, 1), (4, 1)], "terms(state)")

    def test_empty_snapshot_is_not_no_snapshot(self) -> None:
        opener = self.make()
        calls: list[list[Write]] = [
            [hard_state(1), StoreSnapshot(3, snapshot_write(2, 1, ""), 2, True)]
        ]
        require_equal(
            written(opener, calls).snapshot,
            snapshot_write(2, 1, ""),
            "written(opener, calls).snapshot",
        )

    def test_snapshot_and_other_writes_of_one_call_are_one_state(self) -> None:
        """A snapshot, the log after it, the term and the commit index are all there after a restart."""
        opener = self.make()
        calls: list[Sequence[Write]] = [
            [hard_state(1), append(1, [1] * 5)],
            [
                StoreSnapshot(3, snapshot_write(3, 1, "first"), 1, False),
                TruncateLog(4, 5),
                hard_state(2, vote=3),
                append(5, [2, 2]),
                StoreSnapshot(7, snapshot_write(4, 1, "second"), 4, False),
            ],
        ]
        state = written(opener, calls, commit=4)
        require_equal(state.snapshot, snapshot_write(4, 1, "second"), "state.snapshot")
        require_equal(terms(state), [(5, 2), (6, 2)], "terms(state)")
        require_equal(state.hard_state, HardState(2, 3, 4), "state.hard_state")

    def test_snapshot_may_leave_entries_that_it_covers(self) -> None:
        """A leader keeps some entries for followers that lag. The log then starts before the snapshot ends."""
        opener = self.make()
        calls: list[Sequence[Write]] = [
            [hard_state(2), append(1, [1, 1, 1, 2, 2])],
            [StoreSnapshot(3, snapshot_write(4, 2), 2, False)],
            [append(6, [2])],
        ]
        state = written(opener, calls)
        require_equal(terms(state), [(3, 1), (4, 2), (5, 2), (6, 2)], "terms(state)")

    def test_snapshot_of_the_whole_log(self) -> None:
        opener = self.make()
        calls: list[Sequence[Write]] = [
            [hard_state(1), append(1, [1, 1])],
            [StoreSnapshot(3, snapshot_write(2, 1), 2, False)],
        ]
        require_equal(written(opener, calls).entries, [], "written(opener, calls).entries")
        require_equal(
            terms(written(opener, [[append(3, [1])]])),
            [(3, 1)],
            "terms(written(opener, [[append(3, [1])]]))",
        )

    def test_newer_snapshot_replaces_the_older(self) -> None:
        opener = self.make()
        calls: list[Sequence[Write]] = [
            [hard_state(1), append(1, [1] * 6)],
            [StoreSnapshot(3, snapshot_write(2, 1, "old"), 2, False)],
            [StoreSnapshot(4, snapshot_write(5, 1, "new" * 100_000), 5, False)],
        ]
        state = written(opener, calls)
        require_equal(state.snapshot, snapshot_write(5, 1, "new" * 100_000), "state.snapshot")
        require_equal(terms(state), [(6, 1)], "terms(state)")

    def test_leaders_snapshot_resets_a_short_or_conflicting_log(self) -> None:
        for length in (0, 3, 20):
            opener = self.make()
            calls: list[Sequence[Write]] = [
                [hard_state(1), append(1, [1] * length)],
                [hard_state(4), StoreSnapshot(3, snapshot_write(10, 4), 10, True)],
            ]
            state = written(opener, calls)
            require_equal(
                (state.snapshot, state.entries),
                (snapshot_write(10, 4), []),
                "(state.snapshot, state.entries)",
            )
            require_equal(
                terms(written(opener, [[append(11, [4])]])),
                [(11, 4)],
                "terms(written(opener, [[append(11, [4])]]))",
            )

    def test_truncation_of_everything_after_a_snapshot(self) -> None:
        opener = self.make()
        calls: list[Sequence[Write]] = [
            [hard_state(2), append(1, [1] * 6), StoreSnapshot(3, snapshot_write(4, 1), 4, False)],
            [TruncateLog(4, 5), append(5, [2])],
        ]
        require_equal(terms(written(opener, calls)), [(5, 2)], "terms(written(opener, calls))")

    # --- identity

    def test_identity_is_kept(self) -> None:
        opener = self.make()
        storage = opener()
        require_equal(storage.identity(), Identity(NODE_ID, None), "storage.identity()")
        storage.join_cluster("north")
        storage.join_cluster("north")
        require_equal(storage.identity(), Identity(NODE_ID, "north"), "storage.identity()")
        storage.write([hard_state(1), append(1, [1])])
        storage.close()
        storage = opener()
        require_equal(storage.identity(), Identity(NODE_ID, "north"), "storage.identity()")
        require_equal(terms(storage.load()), [(1, 1)], "terms(storage.load())")
        storage.close()

    def test_another_cluster_is_rejected_naming_both(self) -> None:
        storage = self.make()()
        storage.join_cluster("north")
        message = ""
        try:
            storage.join_cluster("south")
        except StorageError as error:
            message = str(error)
        require(
            "north" in message, f"the error is {message!r}; expected it to name the cluster north"
        )
        require(
            "south" in message, f"the error is {message!r}; expected it to name the cluster south"
        )
        require_equal(storage.identity().cluster_id, "north", "storage.identity().cluster_id")
        storage.close()

    # --- closing

    def test_close_is_idempotent_and_final(self) -> None:
        storage = self.make()()
        storage.write([hard_state(1)])
        storage.close()
        storage.close()
        for use in (storage.load, lambda: storage.write([hard_state(2)])):
            rejected = False
            try:
                use()
            except StorageError:
                rejected = True
            if not (rejected):
                raise AssertionError("a closed storage must raise StorageError when it is used")

    # --- random histories

    def test_random_histories_agree_with_the_model(self) -> None:
        """After each call and each restart, the storage holds the state that `apply_write` produces."""

        # Nested, because Hypothesis accepts no `@given` method that several subclasses inherit.
        @settings(
            max_examples=self.examples,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(histories)
        def agree(history: list[StorageStep]) -> None:
            self._replay(history)

        agree()

    def _replay(self, history: list[StorageStep]) -> None:
        opener = self.make()
        storage, model = opener(), StorageModel()
        try:
            for step in history:
                model = _run(step, storage, model)
                if step.reopen:
                    storage.close()
                    storage = opener()
                    model.next_write_id = 1
                require_equal(storage.load(), model.state, "storage.load()")
        finally:
            storage.close()
        require_equal(reopened(opener), model.state, "reopened(opener)")


def _run(step: StorageStep, storage: LogStorage, model: StorageModel) -> StorageModel:
    """Run one step on both. Returns the model of the expected state."""
    after = model.copy()
    writes = [after.make(choice) for choice in step.choices]
    if step.invalid_write:
        writes.append(after.invalid_write())
    commit = None if step.advance_commit is None else after.advance_commit(step.advance_commit)
    note(f"write({writes}, {commit}), invalid_write={step.invalid_write}, reopen={step.reopen}")
    if step.invalid_write:
        if not (rejects(storage, writes, commit)):
            raise AssertionError("a write with a gap was accepted")
        return model
    storage.write(writes, commit)
    return after


def failures(suite: StorageConformance, prefix: str = "test_") -> dict[str, Exception]:
    """Run the tests of a suite whose names begin with `prefix`. Returns the failures by the test's name."""
    failed: dict[str, Exception] = {}
    for name in sorted(dir(suite)):
        if name.startswith(prefix):
            try:
                getattr(suite, name)()
            except Exception as error:  # noqa: BLE001 - a storage may raise anything: that is the finding
                failed[name] = error
    return failed
