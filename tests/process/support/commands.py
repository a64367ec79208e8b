"""Runs `qcore` commands as an operator does, each in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any


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
