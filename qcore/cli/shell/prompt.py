"""The prompt of the shell: history, completion, commands of several lines, Ctrl-C and Ctrl-D."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.shortcuts import CompleteStyle

from qcore.cli.clients.connection_options import tls_files
from qcore.cli.clients.shared_clients import ClientKind, SharedClients
from qcore.cli.exits import ExitCode
from qcore.cli.next_steps import add_next_step, error_text
from qcore.cli.options import DEFAULT_ENDPOINT, split_endpoints
from qcore.cli.shell.completion import ShellCompleter
from qcore.cli.shell.line_runner import run_line
from qcore.cli.shell.shell_words import is_whole
from qcore.cli.store.access.entity_names import current_names, join_path
from qcore.client import Client
from qcore.display import printable
from qcore.errors import DeadlineExceeded, NotLeader, QcoreError, TransportError

#: How long the start of the shell waits for an answer of the cluster.
_ANSWER_S: Final = 1.0


def run_prompt(clients: SharedClients) -> int:
    """Read commands and run them until Ctrl-D. An error of a command does not end the shell.

    Raises:
        Leave: the user wrote `exit`.
    """
    print("help lists the commands, Tab completes, Ctrl-D leaves.")
    warn_without_answer(clients)
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


def warn_without_answer(clients: SharedClients) -> None:
    """Say so if no node answers now, instead of letting the first command wait."""
    endpoints = os.environ.get("QCORE_ENDPOINTS") or DEFAULT_ENDPOINT

    async def work(client: Client) -> None:
        await client.get_entity_types(limit=1)

    nodes = tuple(split_endpoints(endpoints))
    kind = ClientKind(nodes, _ANSWER_S, _ANSWER_S, False, tls_files())
    try:
        clients.run(kind, work)
    except (TransportError, NotLeader, DeadlineExceeded) as error:
        text = error_text(add_next_step(error))
        print(f"warning: no answer within {_ANSWER_S:g} s: {text}", file=sys.stderr)
    except QcoreError:
        return  # a node answered: the machine of this cluster may have no types


def history_file() -> Path:
    """The file of the shell's history."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "qcore" / "shell_history"


class LineHistory(FileHistory):
    """A history without `exit`, and without a line that repeats the one before."""

    def append_string(self, string: str) -> None:
        """Keep a line."""
        if string.strip() != "exit" and self.get_strings()[-1:] != [string]:
            super().append_string(string)


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
    return LineHistory(str(path))
