"""The README that `qcore new machine` writes: an installed qcore runs all its commands in an empty directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents import commands
from tests.packaging.installation import Installation, run
from tests.shell_session import Ports

pytestmark = pytest.mark.process


@pytest.mark.long
def test_the_commands_of_the_readme_run(installed: Installation, tmp_path: Path) -> None:
    run([str(installed.script), "new", "machine", "stock"], tmp_path)
    directory = tmp_path / "stock"
    lines = [command.line for command in commands(directory / "README.md")]
    assert len(lines) == 8
    ports = Ports(lines)
    script = [
        "set -em",
        "trap 'kill -KILL $(jobs -p) 2>/dev/null || true' EXIT",
        f'export PATH="{installed.script.parent}:$PATH"',
        *map(ports.put, lines),
        "wait",
    ]
    printed = run(["bash", "-c", "\n".join(script)], directory)
    assert "PASS  stock_partition  seed 1" in printed
    assert " passed" in printed
    assert '"hello"' in printed
    assert ': {"set": "greeting", "value": "hello"}' in printed
