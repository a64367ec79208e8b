"""`make bench-check` fails for a slower version, and for nothing else. The judgement is tested with fixed figures."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from benchmarks.record.check import Comparison
from benchmarks.record.judgement import Pairs, describe, is_worse, judge, merged
from benchmarks.record.trees import (
    CheckError,
    build,
    git,
    make_tools,
    probe,
    snapshot,
    version_before,
    worktree,
)
from tests.checkout import CHECKOUT

#: Appended to the module of the core, it makes a step take several times as long.
SLOWDOWN = """
_step = RaftCore.step


def _slow_step(*arguments):
    for _ in range(1000):
        pass
    return _step(*arguments)


RaftCore.step = _slow_step
"""


class Machine:
    """Gives fixed figures: for each time that a part is measured, the ratios of new to old."""

    def __init__(self, ratios: dict[str, list[list[float]]]) -> None:
        self.ratios = ratios
        self.asked: list[list[str]] = []

    def measure(self, names: Collection[str]) -> Pairs:
        self.asked.append(sorted(names))
        return {
            figure: [(100.0, 100.0 * ratio) for ratio in times.pop(0)]
            for figure, times in self.ratios.items()
            if figure.partition(":")[0] in names
        }


def worse(ratios: dict[str, list[list[float]]]) -> list[str]:
    return [one.name for one in judge(Machine(ratios).measure, ["core", "sim"]) if one.worse]


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([1.0, 1.0, 1.0], False),
        ([0.86, 0.86, 0.86], False),
        ([0.84, 0.84, 0.84], True),
        ([0.5, 0.99, 0.5, 0.98, 0.97], False),
        ([0.5, 1.9, 0.5], True),
        ([2.0, 2.0, 2.0], False),
    ],
)
def test_the_median_of_the_ratios_decides(ratios: list[float], expected: bool) -> None:
    assert is_worse([(50.0, 50.0 * ratio) for ratio in ratios], 0.15) is expected


def test_what_is_worse_each_time_fails() -> None:
    assert worse({"core: a": [[0.8], [0.7], [0.8]], "core: b": [[1.0], [1.0], [1.0]]}) == [
        "core: a"
    ]


def test_what_is_worse_only_once_passes() -> None:
    assert worse({"core: a": [[0.5], [0.99]]}) == []
    assert worse({"core: a": [[0.5], [0.5], [0.9]]}) == []


def test_only_parts_that_seem_worse_are_measured_again() -> None:
    machine = Machine({"core: a": [[0.8], [0.8], [0.8]], "sim: b": [[1.0]]})
    verdicts = judge(machine.measure, ["core", "sim"])
    assert machine.asked == [["core", "sim"], ["core"], ["core"]]
    assert [(one.name, one.worse) for one in verdicts] == [("core: a", True), ("sim: b", False)]


def test_the_table_names_what_became_worse() -> None:
    bad = judge(Machine({"core: a": [[0.8], [0.7], [0.8]]}).measure, ["core"])
    assert "WORSE" in describe(bad, 0.15)
    assert describe(bad, 0.15).endswith("each time it was measured: core: a")
    good = judge(Machine({"core: a": [[0.9]]}).measure, ["core"])
    assert describe(good, 0.15).endswith("nothing became worse by more than 15%")


def test_figures_that_one_version_lacks_are_left_out() -> None:
    assert merged([({"a": 1.0, "b": 2.0}, {"a": 3.0, "c": 4.0})]) == {"a": [(1.0, 3.0)]}


def copy_of_qcore(place: Path) -> Path:
    """A checkout without compiled modules: a change of it has an effect."""
    ignore = shutil.ignore_patterns("*.so", "compiled.json", "__pycache__")
    shutil.copytree(CHECKOUT / "qcore", place / "qcore", ignore=ignore)
    return place


def test_a_planted_slowdown_of_the_core_is_found(tmp_path: Path) -> None:
    """It is so large that no load of the machine hides it."""
    old, new = copy_of_qcore(tmp_path / "old"), copy_of_qcore(tmp_path / "new")
    core = new / "qcore" / "core" / "raft.py"
    core.write_text(f"{core.read_text()}\n{SLOWDOWN}")
    comparison = Comparison(old, new, 1, 0.0, sys.executable, make_tools(tmp_path / "tools"))
    verdicts = judge(comparison.measure, ["core"])
    one_at_a_time = next(one for one in verdicts if one.name == "core: one_at_a_time")
    assert one_at_a_time.worse
    assert len(one_at_a_time.ratios) == 3


def a_repository(place: Path, commits: Sequence[str]) -> Path:
    place.mkdir()
    git(place, "init", "--quiet")
    git(place, "config", "user.name", "author")
    git(place, "config", "user.email", "author@example.org")
    for text in commits:
        (place / "file").write_text(text)
        git(place, "add", "file")
        git(place, "commit", "--quiet", "--message", text)
    return place


def test_the_version_before_depends_on_changes_and_tags(tmp_path: Path) -> None:
    repository = a_repository(tmp_path / "r", ["one", "two", "three"])
    assert version_before(repository) == "HEAD~1"
    git(repository, "tag", "v1", "HEAD~2")
    assert version_before(repository) == "v1"
    git(repository, "tag", "v2")
    assert version_before(repository) == "HEAD~1"
    (repository / "file").write_text("changed")
    assert version_before(repository) == "HEAD"


def test_a_snapshot_holds_changes_and_new_files(tmp_path: Path) -> None:
    repository = a_repository(tmp_path / "r", ["one"])
    assert snapshot(repository) == git(repository, "rev-parse", "HEAD")
    (repository / "file").write_text("changed")
    (repository / "new").write_text("new")
    before = git(repository, "status", "--porcelain")
    with worktree(repository, snapshot(repository), tmp_path / "tree") as tree:
        assert (tree / "file").read_text() == "changed"
        assert (tree / "new").read_text() == "new"
    assert not (tmp_path / "tree").exists()
    assert git(repository, "status", "--porcelain") == before


def test_an_unknown_version_is_an_error(tmp_path: Path) -> None:
    repository = a_repository(tmp_path / "r", ["one"])
    with pytest.raises(CheckError, match="rev-parse"):
        git(repository, "rev-parse", "--verify", "no-such-version")


def test_a_build_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(CheckError, match="no compiler"):
        build(tmp_path, "echo no compiler >&2; exit 1")


def test_a_probe_of_another_qcore_is_an_error(tmp_path: Path) -> None:
    """A checkout without qcore would measure the one that is installed."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckError, match="instead of"):
        probe("codec", tmp_path / "empty", sys.executable, make_tools(tmp_path / "tools"))


def test_the_command_exits_with_2_for_an_unknown_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.record.check", "no-such-version"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no-such-version" in done.stderr
