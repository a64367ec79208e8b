"""The unit and the rotation of logs are accepted by systemd's and logrotate's programs, where they are installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT

FOLDER = CHECKOUT / "deploy" / "systemd"
UNIT = FOLDER / "qcore.service"

#: `systemd-analyze security` gives services without any restriction 9.6.
LARGEST_EXPOSURE = 2.0


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which(arguments[0]) is None:
        pytest.skip(f"{arguments[0]} is not installed")
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def copied(tmp_path: Path, text: str) -> str:
    """A copy of the unit whose program exists on this computer."""
    program = Path(sys.executable).with_name("qcore")
    path = tmp_path / "qcore.service"
    path.write_text(text.replace("/opt/qcore/bin/qcore", str(program)))
    return str(path)


def verified(tmp_path: Path, text: str) -> str:
    """What systemd finds wrong with this unit."""
    return run("systemd-analyze", "verify", "--man=no", copied(tmp_path, text)).stderr


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text()
    assert verified(tmp_path, text) == ""
    assert "WatchSec" in verified(tmp_path, text.replace("WatchdogSec", "WatchSec"))


def test_systemd_finds_the_unit_well_restricted(tmp_path: Path) -> None:
    path = copied(tmp_path, UNIT.read_text())
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", path)
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) <= LARGEST_EXPOSURE


def test_logrotate_accepts_the_rotation_of_logs(tmp_path: Path) -> None:
    rules = tmp_path / "qcore.logrotate"
    rules.write_text((FOLDER / rules.name).read_text().replace("/var/log/qcore", str(tmp_path)))
    rules.chmod(0o644)
    (tmp_path / "node.log").write_text("a line\n")
    state = tmp_path / "state"
    done = run("logrotate", "--debug", "--force", "--state", str(state), str(rules))
    assert done.returncode == 0
    assert "error" not in done.stderr
    assert "running postrotate script" in done.stderr
