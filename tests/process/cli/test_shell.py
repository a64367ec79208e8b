"""`qcore shell` in a real terminal, and with `--eval` and scripts."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from qcore.cli.exits import ExitCode
from qcore.client import Client
from qcore.processes import ProcessCluster
from tests.checkout import CHECKOUT
from tests.process.cli.conftest import Command

pytestmark = pytest.mark.process

TOPOLOGY = str(CHECKOUT / "examples" / "topology.yaml")
#: A terminal answers within this, also on a busy machine.
PATIENCE_S = 20


@pytest.fixture
def loaded(store: Command) -> Command:
    """A cluster with the topology of the examples."""
    assert store("load", TOPOLOGY).code == 0
    return store


class Terminal:
    """A shell in a terminal of 80 columns."""

    def __init__(self, home: Path) -> None:
        self.history = home / "state" / "qcore" / "shell_history"
        self.child: pexpect.spawn[str] = pexpect.spawn(
            sys.executable,
            ["-m", "qcore", "shell"],
            env={
                **os.environ,
                "XDG_STATE_HOME": str(home / "state"),
                "PROMPT_TOOLKIT_NO_CPR": "1",
                "TERM": "xterm",
                "PYTHONPATH": str(CHECKOUT),
            },
            encoding="utf-8",
            timeout=PATIENCE_S,
            dimensions=(40, 80),
        )
        self.child.expect("help lists the commands, Tab completes")
        self.prompt()

    def prompt(self, place: str = "/") -> None:
        """Wait until the shell waits for a command: it switches bracketed paste on, and shows the prompt."""
        self.child.expect(rf"\x1b\[\?2004h[^\n]*qcore:{place}>")

    def run(self, line: str, answer: str, place: str = "/") -> None:
        """Type a line, and wait for its output and for the next prompt. `answer` is no part of the line."""
        self.child.send(f"{line}\r")
        self.child.expect(answer)
        self.prompt(place)

    def leave(self) -> int | None:
        self.child.sendeof()
        self.child.expect(pexpect.EOF)
        self.child.close()
        return self.child.exitstatus


@pytest.fixture
def terminal(loaded: Command, tmp_path: Path) -> Iterator[Terminal]:
    del loaded
    opened = Terminal(tmp_path)
    yield opened
    opened.child.close(force=True)


def test_a_session_in_a_terminal(terminal: Terminal, tmp_path: Path) -> None:
    """Errors and Ctrl-C do not end it; Ctrl-D does. The next one has its history."""
    terminal.run("get Nowhere", "error: path .* no entity is there")
    terminal.run("cd Root/Users", "", "/Root/Users")
    terminal.run("get Ada Role", "Admin", "/Root/Users")
    terminal.child.send("half a li")
    terminal.child.sendintr()
    terminal.prompt("/Root/Users")
    terminal.child.send("set Ada \\\rEmail='two\r")
    terminal.run("lines'", r"two\\nlines", "/Root/Users")
    assert terminal.leave() == 0
    assert stat.S_IMODE(terminal.history.stat().st_mode) == 0o600
    again = Terminal(tmp_path)
    again.child.send("\x12Nowh\r")  # Ctrl-R searches in the history; Enter takes what it found
    again.run("", "error: path .* no entity is there")
    assert again.leave() == 0


def test_tab_completes_commands_paths_fields_and_values(terminal: Terminal) -> None:
    terminal.run("schem\t ge\t Thermo\t --compl\t -o cs\t", "Target,Float,20.5,20")
    terminal.run("set Root/U\t/Gr\t Rol\tAdm\t -o cs\t", "Role,Admin,")
    terminal.child.send("get Root/Users/Ada \t\t")
    terminal.child.expect("Children .*Active .*Joined")
    terminal.run("\x15cd Root/Buil\t", "", "/Root/Building")
    terminal.run("get Lobb\t", "", "/Root/Building")


def test_ctrl_c_ends_a_watch_and_not_the_shell(terminal: Terminal, loaded: Command) -> None:
    terminal.child.send("watch Root/Users/Ada Logins -o csv\r")
    terminal.child.expect("index,sequence.*value")
    assert loaded("entity", "set", "Root/Users/Ada", "Logins=77").code == 0
    terminal.child.expect("Logins,0,77")
    terminal.child.sendintr()
    terminal.child.expect(r"\^C\r\nto continue: --after")
    terminal.prompt()
    terminal.run("get Root/Users/Ada Logins", "77")


def test_a_table_fits_the_terminal(terminal: Terminal) -> None:
    terminal.run(f"set Root/Users/Ada Email={'x' * 200}", "WRITE TIME")
    terminal.child.send("get Root/Users/Ada Email\r")
    terminal.child.expect(r"FIELD[^\n]*\r\n(.*)\x1b\[\?2004h")
    assert isinstance(terminal.child.match, re.Match)
    lines = terminal.child.match[1].splitlines()
    assert "".join(lines).count("x") == 200
    assert all(len(line) <= 80 for line in lines)


def test_the_shell_survives_a_restart_of_the_node(
    terminal: Terminal, store_cluster: ProcessCluster
) -> None:
    terminal.run("get Root Name", "Root")
    node = store_cluster.nodes[1]
    node.kill()
    node.start()
    terminal.run("get Root/Users Name", "Users +2")


def test_commands_of_options_and_scripts_end_at_the_first_error(loaded: Command) -> None:
    done = loaded(
        "shell", "--eval", "cd Root/Users", "--eval", "pwd", "--eval", "get Ada Role -o csv"
    )
    assert done.code == 0, done
    assert done.stdout.splitlines()[0] == "/Root/Users"
    assert done.stdout.splitlines()[2].startswith("Role,Admin,")
    failed = loaded("shell", "--eval", "get Nope", "--eval", "pwd")
    assert (failed.code, failed.stdout) == (ExitCode.REJECTED, "")
    script = "# names\ncd Root\nset Users \\\n  Description='a\nb'\nget Users Description -o json\nexit\npwd\n"
    ran = loaded("shell", stdin=script)
    assert ran.code == 0, ran
    assert '"value": "a\\nb"' in ran.stdout.splitlines()[-1]
    assert "QCORE_TIMEOUT" not in os.environ
    assert loaded("shell", "--timeout", "7", "--eval", "get Root").code == 0
    assert "QCORE_TIMEOUT" not in os.environ, "the defaults of the shell end with it"
    assert loaded("shell", "--eval", "get 'a").code == ExitCode.USAGE
    assert loaded("shell", "--eval", "nonsense").code == ExitCode.USAGE
    assert loaded("shell", "--eval", "shell").code == ExitCode.USAGE
    assert "Short forms of" in loaded("shell", "--eval", "help").stdout


def test_all_commands_of_a_shell_use_one_client(
    loaded: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Client] = []

    class Counted(Client):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr("qcore.client.client.Client", Counted)
    script = "tree\nset Root/Users/Ada Logins=1\ncd Root\nls\nschema list\nfind User --paths\n"
    assert loaded("shell", stdin=script).code == 0
    assert len(made) == 1
    assert loaded("entity", "tree").code == 0
    assert len(made) == 2, "outside of the shell each command has a client"


def test_delete_asks_on_a_terminal(terminal: Terminal, loaded: Command) -> None:
    """The question shows what goes. Ctrl-C at it deletes nothing, like the answer n."""
    answers = (
        ("\x03", "interrupted: nothing was deleted", True),
        ("n\r", "nothing was deleted", True),
        ("y\r", "deleted /Root/Users", False),
    )
    for answer, message, remains in answers:
        terminal.child.send("delete Root/Users\r")
        terminal.child.expect(r"/Root/Users \(\w+\$\d+\) and the 3 below it\?")
        terminal.child.send(answer)
        terminal.child.expect(message)
        terminal.prompt()
        assert (loaded("entity", "get", "Root/Users").code == 0) is remains
