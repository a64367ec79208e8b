"""Runs every command of docs/operate/upgrade-drill.md, with both programs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from qcore.core.version import LATEST_RULES
from qcore.release import __version__
from tests.checkout import DOCS
from tests.documents import commands
from tests.packaging.installation import Installation
from tests.shell_session import run_commands
from tests.test_docs import compare

pytestmark = [pytest.mark.process, pytest.mark.long]


def test_the_drill_of_an_upgrade_and_back(tmp_path: Path, old_release: Installation) -> None:
    programs = {
        "qcore-0.1.0": f'PYTHONPATH= exec "{old_release.script}" "$@"',
        f"qcore-{__version__.partition('.dev')[0]}": f'exec "{sys.executable}" -m qcore "$@"',
    }
    page = DOCS / "operate/upgrade-drill.md"
    ran = run_commands(commands(page), tmp_path, timeout_s=1200, programs=programs)
    for each in ran:
        compare(each)
    shown = [
        re.findall(
            r"^127\S+ +\d.*? +((?:\d+)(?: of \S+)?) +(?:register \d|\?) +(\S+)$", each.output, re.M
        )
        for each in ran
        if each.command.line.endswith(" cluster status")
    ]
    held, mixed, raised = shown
    assert held == [("1", __version__)] * 3
    waiting = (f"1 of 1-{LATEST_RULES}", __version__)
    assert mixed == [waiting, waiting, ("1", "0.1.0")]
    assert raised == [(str(LATEST_RULES), __version__)] * 3
    assert [each.output for each in ran if "exit code" in each.command.line] == ["exit code 5\n"]
