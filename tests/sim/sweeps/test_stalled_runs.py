"""A run in which the user's code never returns ends with the place of that code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qcore.cli.sim.scenarios import app
from qcore.cli.sim.stall_watch import RunStalled
from qcore.sim.running_code import CodePlace, users_place
from tests.sim.sweeps.planted_machines import MACHINE, planted

SOON = ("--stall-timeout", "0.4")


def stalled(arguments: list[str]) -> str:
    done = CliRunner().invoke(app, [*arguments, *SOON])
    assert isinstance(done.exception, RunStalled), done.output
    return str(done.exception)


@pytest.mark.parametrize("command", ["run", "shrink"])
def test_a_machine_that_hangs_is_named_with_the_time(tmp_path: Path, command: str) -> None:
    text = stalled([command, str(planted(tmp_path, ["hang"]))])
    assert re.search(r"at [1-9]\d*\.\d{3} ms of simulated time, in planted\.py:\d+ \(apply\)", text)


@pytest.mark.parametrize(
    ("sound", "hangs", "function"),
    [
        ("import os\n", "import os\nimport time\ntime.sleep(1000)\n", "<module>"),
        ("    for each in history:\n", "    while True:\n", "check"),
    ],
)
def test_code_that_hangs_outside_of_events_is_named(
    tmp_path: Path, sound: str, hangs: str, function: str
) -> None:
    file = planted(tmp_path, ["fine"])
    text = MACHINE.replace(
        "        if each.answer", "        each = history[0]\n        if each.answer"
    )
    (tmp_path / "planted.py").write_text(text.replace(sound, hangs))
    found = stalled(["run", str(file)])
    assert "before its first event or after its last one" in found
    assert re.search(rf"in planted\.py:\d+ \({function}\)", found)


def test_a_program_that_hangs_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text("async def client(ctx):\n    while True:\n        pass\n")
    file = tmp_path / "loop.yaml"
    file.write_text(
        "cluster: {nodes: 1}\nworkload: {clients: 1, program: 'loop.py:client'}\nuntil_ms: 1000\n"
    )
    assert re.search(r"in loop\.py:[23] \(client\)", stalled(["run", str(file)]))


def test_a_run_without_a_limit_is_not_watched(tmp_path: Path) -> None:
    file = planted(tmp_path, ["fine"])
    done = CliRunner().invoke(app, ["run", str(file), "--stall-timeout", "0"])
    assert done.exit_code == 0, done.output


def test_the_deepest_place_of_the_user_is_named() -> None:
    library = CodePlace(re.__file__, 1, "match")
    deep, outer = CodePlace("/home/me/rules.py", 7, "rule"), CodePlace("/home/me/m.py", 3, "apply")
    assert users_place([library, deep, outer]) == deep
    assert users_place([library]) == library
    assert users_place([]) is None
