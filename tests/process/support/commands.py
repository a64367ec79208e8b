"""Runs `qcore` commands as an operator does, each in a separate process."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

import pytest

from qcore.cli.main import main


def run_qcore(
    *arguments: str,
    endpoints: Sequence[str] = (),
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. It must not print a traceback.

    Args:
        arguments: the words after `qcore`.
        endpoints: if there are any, the command gets them as `--endpoints`.
        stdin: the text on its standard input.
        environment: variables in addition to those of this process.
    """
    option = ("--endpoints", ",".join(endpoints)) if endpoints else ()
    done = subprocess.run(
        [sys.executable, "-m", "qcore", *arguments, *option],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        input=stdin,
        env={**os.environ, **(environment or {})},
    )
    assert "Traceback" not in done.stderr
    return done


def run_qcore_json(
    *arguments: str,
    endpoints: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    expected_code: int = 0,
) -> Any:
    """Run a command with `-o json`, and return what it prints. It must end with `expected_code`."""
    done = run_qcore(*arguments, "-o", "json", endpoints=endpoints, environment=environment)
    assert done.returncode == expected_code, (done.stdout, done.stderr)
    return json.loads(done.stdout)


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def run_here(*words: str, stdin: str = "") -> Ended:
    """Run the entry point of the `qcore` script in this process, which is faster than another process."""
    out, err = io.StringIO(), io.StringIO()
    given = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["qcore", *words])
        patch.setattr(sys, "stdin", given)
        with pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code
    return Ended(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())
