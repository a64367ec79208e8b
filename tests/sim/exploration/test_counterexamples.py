"""Counterexamples: their text, their file, and that the file can be repeated; the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qcore.errors import ConfigError
from qcore.sim.exploration import Counterexample, explore
from qcore.sim.exploration.counterexample import repeat
from tests.process.support.commands import run_here

pytestmark = pytest.mark.pure_only("the explorer copies cores")


@pytest.fixture(scope="module")
def two_votes() -> Counterexample:
    found = explore("election", without=["one_vote_per_term"]).counterexample
    assert found is not None
    return found


def test_the_text_shows_each_step_and_the_state_of_each_node(two_votes: Counterexample) -> None:
    lines = two_votes.text().splitlines()
    assert len(lines) == len(two_votes.steps) * 4 + 1
    assert lines[0] == "  1  node 1: the election timeout fires"
    assert "* node 1  candidate  term 2  vote 1" in lines[1]
    assert "node 2 voted for 2 and for 1 in term 2" in lines[-1], "no node leads yet"


def test_a_kept_file_breaks_the_same_property_again(
    two_votes: Counterexample, tmp_path: Path
) -> None:
    two_votes.save(tmp_path / "new" / "kept.json")
    again, same = repeat(tmp_path / "new" / "kept.json")
    assert same
    assert again.text() == two_votes.text()


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("format", 99, "format 99"),
        ("bounds", {"nodes": 3, "dogs": 1}, "no bound 'dogs'"),
        ("steps", [{"do": "timeout", "node": 1}], "no property is broken after its 1 steps"),
        ("steps", [{"do": "sync", "node": 1}], "step 1 is not possible any more"),
    ],
)
def test_an_unusable_file_is_explained(
    two_votes: Counterexample, tmp_path: Path, key: str, value: object, text: str
) -> None:
    path = tmp_path / "kept.json"
    path.write_text(json.dumps(two_votes.to_json() | {key: value}))
    with pytest.raises(ConfigError, match=text):
        repeat(path)


def test_a_file_of_something_else_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(ConfigError, match="not a counterexample"):
        repeat(tmp_path / "other.json")


def test_the_command_keeps_and_repeats_a_counterexample(tmp_path: Path) -> None:
    kept = str(tmp_path / "kept.json")
    options = ["--without", "log_freshness_check", "--preset", "commit", "-o", "json"]
    first = run_here("sim", "explore", *options, "--save", kept)
    assert first.code == 1
    assert f"qcore sim explore --replay {kept}" in first.stderr
    body = json.loads(first.stdout)
    assert body["counterexample"]["cause"]["key"] == "leader_completeness"
    again = run_here("sim", "explore", "--replay", kept, "-o", "json")
    assert again.code == 1
    assert json.loads(again.stdout)["steps"] == body["counterexample"]["steps"]


def test_the_command_says_how_far_it_looked() -> None:
    found = run_here("sim", "explore", "--depth", "4")
    assert found.code == 0
    assert "no property is broken: every state within 4 steps was visited" in found.stdout
