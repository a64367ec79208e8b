"""`plan_recovery` and `carry_out`: new clusters in the data directories of survivors."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qcore.core.effects import AppendLog, SaveHardState
from qcore.core.entry import HardState, Membership
from qcore.errors import ConfigError, DiskFull, IncompatibleVersion
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.register import RegisterMachine
from qcore.node.peers.node_key_file import read_key
from qcore.node.watches.divergence import DivergenceMarkFile
from qcore.recovery.checks.data_dir_check import check_data_dir
from qcore.recovery.clusters import quorum_recovery as recover_module
from qcore.recovery.clusters.new_cluster_state import INDEX_BUMP, TERM_BUMP, Bumps
from qcore.recovery.clusters.quorum_recovery import (
    Recovered,
    carry_out,
    plan_recovery,
    preview,
)
from qcore.recovery.recovery_refused import RecoveryRefused
from qcore.recovery.repairs.backup_copy import back_up as real_back_up
from qcore.recovery.snapshot_summary import summarise
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.process.support.commands import run_here
from tests.recovery.directories import (
    MEMBERS,
    Sample,
    entry,
    make,
    open_storage,
    state_of,
    unchanged,
)


def command(index: int, key: str) -> AppendLog:
    """A write to the machine `register`."""
    return AppendLog(1, [entry(index, data=json.dumps({"op": "set", "key": key, "value": index}))])


@pytest.fixture(scope="module")
def sample(module_path: Path) -> Sample:
    """The directory of the one node that is left of three. Its last entries are not committed, as far as it knows."""
    made = make(module_path / "left")
    path = made.path
    storage = open_storage(path)
    storage.load()
    storage.write([AppendLog(1, [entry(61, "session", '["open",60000]')])])
    storage.write([command(62, "last")])
    storage.close()
    return made


@pytest.fixture
def left(sample: Sample, tmp_path: Path) -> Path:
    """A copy of that directory."""
    return sample.copy(tmp_path / "left")


def recovered(*directories: Path, members: dict[int, str] | None = None) -> Recovered:
    plan = plan_recovery(directories, members)
    return carry_out(plan, RegisterMachine(), Bumps(), os.urandom)


def test_plan_changes_nothing_and_names_what_is_kept(left: Path) -> None:
    with unchanged(left):
        plan = plan_recovery([left], None)
    assert plan.members == {1: "a:1"}
    assert plan.judgement.unseen == (2, 3)
    assert (plan.judgement.commit_index, plan.judgement.furthest.last_index) == (59, 62)


def test_whole_log_becomes_the_state_of_the_new_cluster(left: Path) -> None:
    DivergenceMarkFile(left).save(3)
    plan = plan_recovery([left], {1: "new:1"}, even_if_diverged=True)
    done = carry_out(plan, RegisterMachine(), Bumps(), os.urandom)
    storage = open_storage(left)
    state, identity = storage.load(), storage.identity()
    storage.close()
    snapshot = state.snapshot
    assert snapshot is not None
    assert state.entries == []
    meta = snapshot.meta
    assert (meta.last_included_index, meta.last_included_term) == (62 + INDEX_BUMP, 2 + TERM_BUMP)
    assert identity.cluster_id == done.new.cluster_id != "north"
    assert meta.membership == Membership(
        voters=(1,),
        addresses=((1, "new:1"),),
        cluster_id=done.new.cluster_id,
        keys=((1, str(MEMBERS.key_of(1))),),
    )
    text = str(snapshot.data)
    assert '["last",62]' in text
    assert summarise(iter([text])).sessions == 0
    assert check_data_dir(left).findings == []
    names = sorted(os.listdir(done.backups[1]))
    assert names == ["diverged.json", "log.db", "log.mark", "peers.json"]


def test_backup_copy_is_the_old_directory(left: Path) -> None:
    before = {name: (left / name).read_bytes() for name in ("log.db", "log.mark", "peers.json")}
    backup = recovered(left).backups[1]
    assert {name: (backup / name).read_bytes() for name in before} == before


def test_recovery_can_be_undone_from_the_copy(left: Path, sample: Sample) -> None:
    """As docs/operate/recovery.md says."""
    backup = recovered(left).backups[1]
    storage = open_storage(left)
    before = storage.load()
    storage.close()
    for name in ("log.db", "log.db-wal", "log.mark", "peers.json"):
        (left / name).unlink(missing_ok=True)
    for file in [*backup.iterdir()]:
        file.rename(left / file.name)
    storage = open_storage(left)
    assert storage.load().entries[-1].index == 62
    assert storage.load() != before
    assert storage.identity().cluster_id == "north"
    storage.close()
    assert check_data_dir(left).findings == []


def _break_entry(path: Path) -> None:
    content = (path / "log.db").read_bytes()
    (path / "log.db").write_bytes(content.replace(b"key 45", b"kEy 45"))


def _break_mark(path: Path) -> None:
    (path / "log.mark").write_bytes(b"")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_break_entry, "entry 45"),
        (_break_mark, "log.mark"),
        (lambda path: (path / "node.key").write_bytes(b""), "move node.key away"),
    ],
)
def test_log_that_cannot_be_trusted_is_refused(
    left: Path, change: Callable[[Path], object], text: str
) -> None:
    change(left)
    with unchanged(left), pytest.raises(RecoveryRefused, match=text):
        plan_recovery([left], None)


def test_running_node_and_unknown_members_are_refused(left: Path) -> None:
    with pytest.raises(ConfigError, match="no --data-dir is that of node 2"):
        plan_recovery([left], {1: "a:1", 2: "b:1"})
    storage = open_storage(left)
    with pytest.raises(RecoveryRefused, match="a node runs on"):
        plan_recovery([left], None)
    storage.close()


def test_node_that_ran_after_the_plan_stops_the_recovery(left: Path) -> None:
    plan = plan_recovery([left], None)
    storage = open_storage(left)
    storage.load()
    storage.write([command(63, "new")])
    storage.close()
    with pytest.raises(RecoveryRefused, match="has changed"):
        carry_out(plan, RegisterMachine(), Bumps(), os.urandom)
    storage = open_storage(left)
    assert storage.load().entries[-1].index == 63
    storage.close()


def test_lost_key_does_not_cost_the_state(left: Path) -> None:
    """The log of the last node is whole: the new cluster gets to know a new key of it."""
    (left / "node.key").unlink()
    with unchanged(left):
        plan = plan_recovery([left], None)
        preview(plan, RegisterMachine(), Bumps(), os.urandom)
    done = carry_out(plan, RegisterMachine(), Bumps(), os.urandom)
    key = read_key(left)
    assert key is not None
    assert done.new.snapshot.meta.membership.key_of(1) == key.public != MEMBERS.key_of(1)
    assert check_data_dir(left).findings == []


def test_copies_do_not_stay_if_one_cannot_be_made(
    left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_recovery([left], None)
    survivors = [plan.judgement.furthest, replace(plan.judgement.furthest, node_id=2)]

    def back_up(directory: Path, prefix: str) -> Path:
        if [*directory.glob(f"{prefix}-*")]:
            raise DiskFull("there is no room")
        return real_back_up(directory, prefix)

    monkeypatch.setattr(recover_module, "back_up", back_up)
    with pytest.raises(DiskFull):
        recover_module._back_up_all(survivors)
    assert [*left.glob("before-*")] == []


def test_another_state_machine_changes_nothing(left: Path) -> None:
    plan = plan_recovery([left], None)
    with unchanged(left), pytest.raises(IncompatibleVersion, match="register"):
        carry_out(plan, EntityStore(), Bumps(), os.urandom)


def test_crash_at_any_step_leaves_the_old_or_the_new_state(
    left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program ends at each of its steps in turn. The directory then holds the old log, or the new cluster."""

    class Ended(BaseException):
        pass

    steps = ["back_up", "remove", "load_known_members", "begin_new_cluster", "save"]
    seen = set()
    for step in steps:
        path = tmp_path / step
        shutil.copytree(left, path)
        with monkeypatch.context() as patch:

            def end(*_: object) -> None:
                raise Ended

            if step == "begin_new_cluster":
                patch.setattr(SqliteStorage, "begin_new_cluster", end)
            elif step == "save":
                patch.setattr(DivergenceMarkFile, "save", end)
            else:
                patch.setattr(recover_module, step, end)
            plan = plan_recovery([path], None)
            with pytest.raises(Ended):
                carry_out(plan, RegisterMachine(), Bumps(), os.urandom)
        report = check_data_dir(path)
        assert report.faults == []
        assert report.log is not None
        is_new = report.log.state.last_index > 62
        seen.add((step, is_new))
        if is_new:
            with pytest.raises(RecoveryRefused, match="start the nodes"):
                recovered(path)
        else:
            assert recovered(path).new.snapshot.meta.last_included_index > 62
    assert {step for step, is_new in seen if is_new} == {"save"}


def test_directories_of_several_members_get_one_cluster(left: Path, tmp_path: Path) -> None:
    """Node 1 of five, and a copy that stands for node 2."""
    five = Membership(
        (1, 2, 3, 4, 5),
        addresses=tuple((node, f"h{node}:1") for node in range(1, 6)),
        cluster_id="c",
    )
    paths = [tmp_path / "n1", tmp_path / "n2"]
    for node, path in enumerate(paths, start=1):
        storage = SqliteStorage.open(path, node)
        storage.join_cluster("c")
        first = [entry(1, "membership", five.to_json(), term=1), entry(2, "noop", "", term=1)]
        storage.write([SaveHardState(1, HardState(node + 4)), AppendLog(2, first[: 3 - node])])
        storage.close()
    done = recovered(*paths)
    found = []
    for node, path in enumerate(paths, start=1):
        storage = SqliteStorage.open(path, node)
        found.append((storage.load(), storage.identity().cluster_id))
        storage.close()
    assert found[0] == found[1]
    meta = done.new.snapshot.meta
    assert (meta.last_included_index, meta.last_included_term) == (2 + INDEX_BUMP, 6 + TERM_BUMP)
    assert meta.membership.voters == (1, 2)


def test_learner_alone_begins_a_cluster_if_it_is_named(left: Path) -> None:
    """All voters are lost. etcd's --force-new-cluster panics here (etcd issue 12285)."""
    learners = replace(MEMBERS, voters=(2, 3), learners=(1,))
    storage = open_storage(left)
    storage.load()
    storage.write([AppendLog(1, [entry(63, "membership", learners.to_json())])])
    storage.close()
    with pytest.raises(ConfigError, match="name at least one"):
        plan_recovery([left], None)
    plan = plan_recovery([left], {1: "a:1"})
    assert not plan.judgement.loses_nothing
    done = carry_out(plan, RegisterMachine(), Bumps(), os.urandom)
    assert done.new.snapshot.meta.membership.voters == (1,)


def test_command_shows_the_plan_and_does_it_with_yes(left: Path) -> None:
    words = [
        "node",
        "recover",
        "--machine",
        "register",
        "--data-dir",
        str(left),
        "--members",
        "1=127.0.0.1:1",
    ]
    before = state_of(left)
    other = run_here(*["entity" if word == "register" else word for word in words])
    assert (other.code, "state machine is 'register'" in other.stderr) == (5, True), (
        "before --yes, too"
    )
    planned = run_here(*words)
    assert planned.code == 0
    assert "nothing was changed" in planned.stdout
    assert "the voters 2, 3 are not here" in planned.stdout
    assert state_of(left) == before
    done = run_here(*words, "--yes")
    assert (done.code, done.stderr) == (0, "")
    assert "its log continues after index 1000000000062" in done.stdout
