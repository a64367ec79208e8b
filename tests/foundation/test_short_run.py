"""What shortens a run of the tests: fewer examples of a property, and compiled modules. See `tests/conftest.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.conftest import SHORT_EXAMPLES, keep_bytecode

STATED = 3 * SHORT_EXAMPLES
seen: list[int] = []


@settings(max_examples=STATED, phases=[Phase.generate], database=None)
@given(st.integers())
def test_integers_equal_themselves(value: int) -> None:
    seen.append(value)
    assert value == value + 0


def test_the_short_run_tries_fewer_examples(request: pytest.FixtureRequest) -> None:
    seen.clear()
    test_integers_equal_themselves()
    is_short = "not long" in request.config.option.markexpr
    assert len(seen) == (SHORT_EXAMPLES if is_short else STATED)


def test_processes_of_the_tests_keep_compiled_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the environment forbids it. Then nothing appears beside the source."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "kept"))
    for name in ("dont_write_bytecode", "pycache_prefix"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    keep_bytecode()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "imported_once.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "source"))
    subprocess.run([sys.executable, "-c", "import imported_once"], env=os.environ, check=True)
    assert [path.name for path in (tmp_path / "source").iterdir()] == ["imported_once.py"]
    assert list((tmp_path / "kept").rglob("imported_once.*.pyc"))
