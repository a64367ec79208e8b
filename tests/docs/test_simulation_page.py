"""docs/simulation.md: its scenario is the shipped one, its bugs are found, and the reports have the lines shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qcore.sim import load_scenario, run_scenario
from tests.checkout import CHECKOUT
from tests.documents import blocks

PAGE = CHECKOUT / "docs" / "simulation.md"
SEATS = CHECKOUT / "examples" / "seats"
SHOWN = [block.text for block in blocks(PAGE) if block.language == "text"]
PYTHON = [block.text for block in blocks(PAGE) if block.language == "python"]


def test_the_scenario_of_the_page_is_the_example() -> None:
    (shown,) = [block.text for block in blocks(PAGE) if block.language == "yaml"]
    assert shown == (SEATS / "bad_day.yaml").read_text()


def test_the_code_of_the_page_is_that_of_the_example() -> None:
    source = re.sub(r": Seats| -> \w+", "", (SEATS / "seats.py").read_text())
    for block in PYTHON[1:3]:
        for part in block.split("\n\n\n"):
            assert re.sub(r"^class Seats:\n| -> \w+", "", part).strip() in source, part


def test_the_program_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(PYTHON[0], str(PAGE), "exec"), {})
    assert "leads after 170.719 ms" in capsys.readouterr().out


@pytest.mark.parametrize("seed", [1, 2])
def test_the_honest_machine_passes(seed: int) -> None:
    assert run_scenario(SEATS / "seats.yaml", seed).ok


@pytest.mark.parametrize(("number", "machine"), [*enumerate(("Overbooked", "Unfair", "Shuffled"))])
def test_each_planted_bug_is_found_and_explained(number: int, machine: str) -> None:
    scenario = load_scenario(SEATS / "seats.yaml", parameters={"machine": machine})
    result = run_scenario(scenario, 1)
    assert not result.ok
    notes = "\n".join(
        f"violation  {each.check}  node {each.node}, {each.t_us / 1000:.3f} ms: {each.note}"
        for each in result.violations
    )
    for line in SHOWN[number].strip().splitlines():
        assert line.strip() in re.sub(r"\n +", "\n", notes), line


def test_the_test_of_the_page_is_that_of_the_testing_page() -> None:
    testing = [block.text for block in blocks(CHECKOUT / "docs" / "how-to" / "testing.md")]
    assert PYTHON[-2].startswith("import qcore\n")
    assert PYTHON[-2] in testing


def test_the_program_of_the_page_steps_through_a_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_scenario("leader_isolated", 7, record="recorded")
    (tmp_path / "recorded" / "node-4.qrec").rename("incident.qrec")
    exec(compile(PYTHON[-1], str(PAGE), "exec"), {})
    first, *_, last = capsys.readouterr().out.splitlines()
    assert re.match(r"\d+ ms: MessageReceived\(", first), first
    assert last == "None"
