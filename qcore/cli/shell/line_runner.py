"""Runs the lines of the shell: the commands of `qcore`, their short forms, and those of the shell."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable

from qcore.cli.exits import ExitCode, exit_code_of
from qcore.cli.main import GROUPS, app, run_arguments
from qcore.cli.next_steps import error_text
from qcore.cli.shell.builtin_commands import NOT_HERE, SHORT_FORMS, builtins
from qcore.cli.shell.shell_words import is_whole, redirection_in, split_line
from qcore.errors import ConfigError

BUILT_IN = ("cd", "exit", "help", "ls", "pwd")


def run_line(line: str) -> int:
    """Run one line; report its error on stderr. Returns its exit code.

    Raises:
        Leave: the line is `exit`.
    """
    try:
        words = split_line(line)
        if words and words[0] in NOT_HERE:
            raise ConfigError(f"this is the shell already: `{words[0]}` does nothing here")
        if (sign := redirection_in(line)) is not None and words:
            raise ConfigError(
                f"the shell has no pipes, redirections or jobs: put quotes around {sign} if it is part of a value"
            )
        _require_command(words)
    except ConfigError as error:
        print(f"error: {error_text(error)}", file=sys.stderr)
        return exit_code_of(error)
    if not words:
        return ExitCode.DONE
    if words[0] in BUILT_IN:
        return run_arguments(builtins, words, name="")
    return run_arguments(app, expanded(words) or ["--help"], name="")


def _require_command(words: list[str]) -> None:
    """Reject a first word that is no command, with the most similar one.

    Raises:
        ConfigError: it is none.
    """
    (first, *_) = expanded(words) or [""]
    known = [*BUILT_IN, *SHORT_FORMS, *(name for name in GROUPS if name not in NOT_HERE)]
    if not first or first.startswith("-") or first in known:
        return
    similar = difflib.get_close_matches(first, known, 1)
    step = f"did you mean {similar[0]}?" if similar else "`help` lists the commands"
    raise ConfigError(f"there is no command {first!r}: {step}")


def expanded(words: list[str]) -> list[str]:
    """The words of a command of `qcore`: without the word `qcore`, and with `entity` before a short form."""
    if words[:1] == ["qcore"]:
        words = words[1:]
    return ["entity", *words] if words and words[0] in SHORT_FORMS else words


def run_script(lines: Iterable[str]) -> int:
    """Run commands until one fails; returns its exit code. A command may take several lines.

    Raises:
        Leave: a line is `exit`.
    """
    command = ""
    for line in lines:
        command += line
        if not is_whole(command.removesuffix("\n")):
            continue
        code = run_line(command.strip())
        command = ""
        sys.stdout.flush()
        if code != ExitCode.DONE:
            return code
    return run_line(command.strip()) if command.strip() else ExitCode.DONE
