"""The prompt of the shell: history, completion, commands of several lines, Ctrl-C and Ctrl-D."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.shortcuts import CompleteStyle

from qcore.cli.clients.shared_clients import SharedClients
from qcore.cli.exits import ExitCode
from qcore.cli.shell.completion import ShellCompleter
from qcore.cli.shell.line_runner import run_line
from qcore.cli.shell.shell_words import is_whole
from qcore.cli.store.access.entity_names import current_names, join_path
from qcore.display import printable


def run_prompt(clients: SharedClients) -> int:
    """Read commands and run them until Ctrl-D. An error of a command does not end the shell.

    Raises:
        Leave: the user wrote `exit`.
    """
    completer = ShellCompleter(clients)
    session: PromptSession[str] = PromptSession(
        history=_history(),
        completer=completer,
        complete_style=CompleteStyle.READLINE_LIKE,
        complete_while_typing=False,
        # Enter adds a line while the command is not whole.
        multiline=Condition(lambda: not is_whole(get_app().current_buffer.text)),
        prompt_continuation="... ",
    )
    while True:
        try:
            line = session.prompt(f"qcore:{printable(join_path(current_names()))}> ")
        except KeyboardInterrupt:
            continue  # Ctrl-C drops the line
        except EOFError:
            return ExitCode.DONE
        run_line(line)
        completer.names.forget()


def history_file() -> Path:
    """The file of the shell's history."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "qcore" / "shell_history"


def _history() -> History:
    """The history in its file, which only the user can read; in memory if the file cannot be written."""
    path = history_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
        path.chmod(0o600)
    except OSError as error:
        print(
            f"warning: {printable(str(path))}: {error.strerror}: the history of this shell is not kept",
            file=sys.stderr,
        )
        return InMemoryHistory()
    return FileHistory(path)
