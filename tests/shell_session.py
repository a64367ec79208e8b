"""Runs the commands of a document one after the other in one shell, with free ports."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from qcore.processes import free_ports
from tests.checkout import CHECKOUT
from tests.documents import Command
from tests.forked_processes import forking_server

_ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")
#: Stands for curl where it is missing. It knows the options that the documents use.
_CURL = """
import argparse, time, urllib.error, urllib.request
parser = argparse.ArgumentParser()
parser.add_argument("-s", action="store_true"), parser.add_argument("-S", action="store_true")
parser.add_argument("-X", default="GET"), parser.add_argument("-d")
parser.add_argument("--retry", type=int, default=0), parser.add_argument("--retry-delay", type=float)
parser.add_argument("--retry-connrefused", action="store_true"), parser.add_argument("url")
given = parser.parse_args()
body = given.d and given.d.encode()
while True:
    try:
        request = urllib.request.Request(given.url, body, method=given.X)
        print(urllib.request.urlopen(request).read().decode(), end="")
        break
    except urllib.error.URLError:
        given.retry -= 1
        if given.retry < 0:
            raise
        time.sleep(given.retry_delay or 1)
"""

#: Runs most commands in forked processes. What may run for long, and gets signals, runs in a separate one.
_FORKED = CHECKOUT / "tests/process/programs/forked_qcore.py"
_QCORE = """
case "$1" in
  node|watch|gateway) exec "{python}" -m qcore "$@" ;;
  *) exec "{python}" -I -S "{program}" ask "{path}" "$@" ;;
esac
"""

#: Turns on job control, and ends the remaining jobs when the shell ends.
_PRELUDE = """
set -m
trap 'kill -KILL $(jobs -p) 2>/dev/null' EXIT
"""
#: While the followers still catch up, `status` exits with 5. The session repeats it, as a user would.
_AGAIN = """
for again in $(seq 100); do seen=$({command}) && break; sleep 0.1; done
echo "$seen"; test "$again" -lt 100
"""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The stdout of a command and its exit code. For a background job, 0 means that it was started."""

    command: Command
    exit_code: int
    output: str


class Ports:
    """Maps each documented port of 127.0.0.1 to a free port, always to the same one."""

    def __init__(self, texts: Sequence[str]) -> None:
        documented = sorted({port for text in texts for port in _ADDRESS.findall(text)})
        self._free = dict(zip(documented, free_ports(len(documented)), strict=True))

    def put(self, text: str) -> str:
        return _ADDRESS.sub(lambda match: f"127.0.0.1:{self._free[match[1]]}", text)

    def restore(self, text: str) -> str:
        for documented, free in self._free.items():
            text = text.replace(f"127.0.0.1:{free}", f"127.0.0.1:{documented}")
        return text


def prepare(directory: Path, forking: str, programs_of_test: Mapping[str, str]) -> dict[str, str]:
    """Put the files that commands need into `directory`, and return the environment for the commands.

    Args:
        directory: the working directory of the commands.
        forking: the socket of a server of `forked_qcore.py`.
        programs_of_test: more programs, by name: the text of a shell script.
    """
    for part in ("examples", "scenarios", "benchmarks"):
        shutil.copytree(CHECKOUT / part, directory / part)
    programs = directory / ".programs"
    programs.mkdir()
    scripts = {
        "qcore": _QCORE.format(python=sys.executable, program=_FORKED, path=forking),
        "python": f'exec "{sys.executable}" "$@"',
        **programs_of_test,
    }
    if shutil.which("curl") is None:
        (programs / "curl.py").write_text(_CURL, encoding="utf-8")
        scripts["curl"] = f'exec "{sys.executable}" "{programs / "curl.py"}" "$@"'
    for program, text in scripts.items():
        (programs / program).write_text(f"#!/bin/sh\n{text}\n")
        (programs / program).chmod(0o755)
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("QCORE_")},
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
    }


def run_commands(
    commands: Sequence[Command],
    directory: Path,
    timeout_s: float,
    programs: Mapping[str, str] = MappingProxyType({}),
) -> list[CommandResult]:
    """Run the commands in `directory` in one shell, and end the processes that they leave behind.

    `programs`: more programs for the commands, by name: the text of a shell script.
    """
    environment = prepare(directory, forking_server(), programs)
    return _run_commands(commands, directory, timeout_s, environment)


def _run_commands(
    commands: Sequence[Command], directory: Path, timeout_s: float, environment: dict[str, str]
) -> list[CommandResult]:
    ports = Ports([command.line for command in commands])
    script = [_PRELUDE]
    for number, command in enumerate(commands):
        output, code = directory / f".output-{number}", directory / f".code-{number}"
        line = ports.put(command.line)
        if line.startswith("qcore cluster status"):
            line = _AGAIN.format(command=line)
        if line.startswith("kill ") and not line.startswith("kill -"):
            # The documents promise that SIGTERM stops a node cleanly, so the exit code of the job counts.
            line = f"job=$(jobs -p {line.split()[1]}) && {line} && wait $job"
        # `jobs` drops finished jobs from the shell's list, as an interactive shell does before each prompt.
        # A command that fails ends the session: those after it would only wait for what it did not do.
        script.append(
            f'{{ {line}\n}} > "{output}"\nended=$?\necho $ended > "{code}"\n'
            "test $ended -eq 0 || exit\njobs > /dev/null\n"
        )
    shell = subprocess.Popen(
        ["bash", "-c", "\n".join(script)],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = shell.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        shell.send_signal(signal.SIGTERM)  # its trap ends the nodes
        ended = sum((directory / f".code-{number}").exists() for number in range(len(commands)))
        line = commands[min(ended, len(commands) - 1)].line
        raise AssertionError(f"no end within {timeout_s:.0f} s: {line}") from None
    ran: list[CommandResult] = []
    for number, command in enumerate(commands):
        code = directory / f".code-{number}"
        assert code.exists(), f"the shell ended before {command.line!r}:\n{errors}"
        text = (directory / f".output-{number}").read_text()
        exit_code = int(code.read_text())
        assert exit_code == 0, f"{command.line}\nexit code {exit_code}\n{text}\n{errors}"
        ran.append(CommandResult(command, exit_code, ports.restore(text)))
    assert "Traceback" not in errors, errors
    return ran
