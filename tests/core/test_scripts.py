"""Runs the command scripts in `scripts/`; see `tests.core.support.script_language` for the language."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.support.script_language import ScriptError, run_script

SCRIPTS = sorted((Path(__file__).parent / "scripts").rglob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script_prints_its_expected_output(path: Path, request: pytest.FixtureRequest) -> None:
    text = path.read_text()
    printed = run_script(text)
    if request.config.getoption("--rewrite-scripts", default=False):
        path.write_text(printed)
        return
    assert printed == text


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 20


def test_changed_output_is_detected() -> None:
    script = "nodes 1\ncampaign 1\n----\n1: follower t1 leader -\n"
    assert run_script(script) != script
    assert run_script(run_script(script)) == run_script(script)


@pytest.mark.parametrize("line", ["dance 1", "nodes 3 colour=red", "deliver 1->2"])
def test_invalid_script_is_an_error(line: str) -> None:
    with pytest.raises(ScriptError):
        run_script(line)
