"""Every command of the tree: help, formats, options of one meaning, exit codes, and advice in errors."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import typer
from typer.testing import CliRunner

from qcore.cli.exits import ExitCode
from qcore.cli.main import app
from qcore.cli.options import OutputFormat
from tests.checkout import CHECKOUT, DOCS
from tests.process.support.commands import run_here

#: Commands without `-o`, each with the reason.
WITHOUT_OUTPUT = {
    "demo": "it narrates while it runs",
    "gateway etcd": "it runs until it is stopped",
    "node start": "it runs until it is stopped",
    "sim draw": "it prints a scenario file",
    "sim schema": "it prints a JSON document",
    "shell": "its commands have the option",
}

#: Words that complete a command which needs arguments.
ARGUMENTS = {
    "execute": ["x"],
    "entity add": ["User$1", "A=1"],
    "entity create": ["User", "ada"],
    "entity delete": ["User$1", "--yes"],
    "entity find": ["User"],
    "entity get": ["User$1"],
    "entity move": ["User$1", "/"],
    "entity rename": ["User$1", "ada"],
    "entity set": ["User$1", "A=1"],
    "schema get": ["User"],
    "schema set": [str(CHECKOUT / "examples" / "topology.yaml")],
    "kv compact": ["1"],
    "kv del": ["a"],
    "kv get": ["a"],
    "kv put": ["a", "1"],
    "kv txn": ["{}"],
    "kv watch": ["a"],
    "kv lease grant": ["10"],
    "kv lease keep": ["1"],
    "kv lease revoke": ["1"],
    "kv lease show": ["1"],
    "load": [str(CHECKOUT / "examples" / "topology.yaml")],
    "watch": ["--type", "User", "Email"],
    "member add": ["4=127.0.0.1:1"],
    "member demote": ["1"],
    "member move": ["1", "--address", "127.0.0.1:1"],
    "member promote": ["1"],
    "member reinstall": ["1"],
    "member remove": ["1"],
    "member withdraw-token": ["abc"],
    "member replace": ["1", "4=127.0.0.1:1"],
    "perform": ['{"GetSchema": {"entity_type": "User"}}'],
    "shell": ["--eval", "schema list"],
    "snapshot save": ["none"],
    "user add": ["ada", "--no-password"],
    "user set-password": ["ada", "--new-password-file", str(CHECKOUT / "pyproject.toml")],
    "user delete": ["ada"],
    "user grant": ["ada", "admin"],
    "user revoke": ["ada", "admin"],
    "role set": ["reader"],
    "role delete": ["reader"],
    "token revoke": ["ada"],
}

#: Options that a command has with another meaning. `sim elections` describes a cluster that is not running.
OTHER_MEANINGS = {
    ("sim elections", "--nodes"),
    ("sim explore", "--nodes"),
    ("sim elections", "--timeout"),
    ("token recover", "--as"),
    ("cluster init", "--public-key"),
    ("snapshot restore", "--public-key"),
}

#: No program may listen on this port.
NO_NODE = "127.0.0.1:1"


class CommandOfTree(NamedTuple):
    """A group or a command. `command` is click's object, for which typer has no name in all versions."""

    name: str
    command: Any


def tree() -> Iterator[CommandOfTree]:
    def visit(name: str, command: Any) -> Iterator[CommandOfTree]:
        yield CommandOfTree(name, command)
        if hasattr(command, "list_commands"):
            with typer.Context(command) as context:
                for one in command.list_commands(context):
                    below = command.get_command(context, one)
                    yield from visit(f"{name} {one}".strip(), below)

    yield from visit("", typer.main.get_command(app))


EVERYTHING = list(tree())
COMMANDS = [one for one in EVERYTHING if not hasattr(one.command, "list_commands")]
every_command = pytest.mark.parametrize("one", COMMANDS, ids=lambda one: one.name)
everything = pytest.mark.parametrize("one", EVERYTHING, ids=lambda one: one.name or "qcore")


def options(one: CommandOfTree) -> dict[str, Any]:
    return {name: each for each in one.command.params for name in each.opts if name[0] == "-"}


def form_of(one: CommandOfTree, option: Any) -> str:
    """The option as `--help` shows it, with the type of its value."""
    form: str = option.get_help_record(typer.Context(one.command))[0]
    return form


def test_the_tree_has_the_groups_and_their_commands() -> None:
    names = {one.name for one in EVERYTHING}
    assert {"", "cluster", "cluster status", "sim run", "perform"} <= names
    assert len(COMMANDS) > 15


@everything
def test_every_command_and_option_has_a_help_text(one: CommandOfTree) -> None:
    assert len((one.command.help or "").strip()) > 10
    for name, option in options(one).items():
        assert option.help, f"qcore {one.name} {name}"
    done = run_here(*one.name.split(), "--help")
    assert done.code == 0
    assert "--version" in done.stdout
    assert ("--install-completion" in done.stdout) == (one.name == "")


@everything
def test_version_works_at_every_level(one: CommandOfTree) -> None:
    assert run_here(*one.name.split(), "--version") == run_here("--version")


@everything
def test_an_unknown_option_is_wrong_usage(one: CommandOfTree) -> None:
    done = run_here(*one.name.split(), "--no-such-option")
    assert done.code == ExitCode.USAGE
    assert done.stdout == ""
    assert "No such option: --no-such-option" in done.stderr
    assert re.search(r"see `qcore.* --help`\n$", done.stderr)
    assert len(done.stderr.splitlines()) == 1


@every_command
def test_every_command_that_prints_a_result_offers_the_formats(one: CommandOfTree) -> None:
    if one.name in WITHOUT_OUTPUT:
        assert "-o" not in options(one)
        return
    option = options(one)["-o"]
    assert option.opts == ["--output", "-o"]
    assert "|".join(OutputFormat) in form_of(one, option)


def test_an_option_means_the_same_in_all_commands() -> None:
    meanings: dict[str, set[str]] = {}
    for one in EVERYTHING:
        for name, option in options(one).items():
            if (one.name, name) in OTHER_MEANINGS:
                continue
            # The help of `--seed` and of others names what they select.
            text = option.help if name in {"-o", "--endpoints", "--timeout", "--version"} else ""
            meaning = f"{form_of(one, option)} {option.envvar} {text}"
            meanings.setdefault(name, set()).add(meaning)
    meanings.pop("--to")  # a node, a version or an index
    meanings.pop("--out")  # a file, or the directory of an artifact
    different = {name: found for name, found in meanings.items() if len(found) > 1}
    assert not different
    for name, variable in (("--endpoints", "QCORE_ENDPOINTS"), ("--timeout", "QCORE_TIMEOUT")):
        assert variable in str(meanings[name])
        assert all(
            ("--timeout" in options(one)) == ("--endpoints" in options(one))
            for one in COMMANDS
            if (one.name, "--timeout") not in OTHER_MEANINGS
        )


@every_command
def test_an_unreachable_node_is_exit_code_3_with_advice(one: CommandOfTree) -> None:
    if "--endpoints" not in options(one):
        assert one.name.split()[0] not in {"cluster", "member", "leader", "entity", "schema"}
        return
    if one.name == "gateway etcd":
        return  # it starts, and its requests fail: see tests/gateway
    words = [*one.name.split(), *ARGUMENTS.get(one.name, [])]
    done = run_here(*words, "--endpoints", NO_NODE, "--timeout", "0.1")
    assert done.code == ExitCode.CANNOT_CONNECT, done
    lines = done.stderr.splitlines()  # others may read the file that this gives as a password
    (line,) = [each for each in lines if not each.startswith("warning: ")]
    assert line.startswith("error: ")
    assert NO_NODE in line
    assert "qcore node start" in line
    assert "--endpoints" in line


@every_command
def test_endpoints_that_are_no_address_are_wrong_usage(one: CommandOfTree) -> None:
    if "--endpoints" in options(one):
        words = [*one.name.split(), *ARGUMENTS.get(one.name, [])]
        done = run_here(*words, "--endpoints", "nowhere")
        assert (done.code, done.stdout) == (ExitCode.USAGE, "")
        assert "--endpoints" in done.stderr


@everything
def test_a_shell_completes_options_and_commands_everywhere(one: CommandOfTree) -> None:
    words = ["qcore", *one.name.split()]
    long = {name for name in options(one) if name.startswith("--")}
    assert "--version" in long
    assert long <= set(completed([*words, "--"]))
    if hasattr(one.command, "list_commands"):
        below = {other.name for other in EVERYTHING if other.name.split()[:-1] == one.name.split()}
        assert {f"{one.name} {word}".strip() for word in completed([*words, ""])} == below - {""}


def completed(words: list[str]) -> list[str]:
    """What bash offers for the last word."""
    variables = {
        "_QCORE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    return CliRunner().invoke(app, [], env=variables, prog_name="qcore").stdout.split()


def test_the_document_lists_every_exit_code() -> None:
    text = (DOCS / "operate" / "operations.md").read_text(encoding="utf-8")
    section = text.partition("## Exit codes\n")[2].partition("\n## ")[0]
    listed = [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]
    assert listed == list(ExitCode)


@pytest.mark.parametrize(
    "words", [["version"], ["examples", "list"], ["sim", "list"], ["sim", "run", "figure_8"]]
)
def test_csv_has_a_header_and_rows_of_its_length(words: list[str]) -> None:
    header, *rows = csv.reader(io.StringIO(run_here(*words, "-o", "csv").stdout))
    assert rows
    assert {len(row) for row in rows} == {len(header)}
    body = json.loads(run_here(*words, "-o", "json").stdout)
    keys = body[0] if isinstance(body, list) else body
    assert set(keys) == {column.partition(".")[0] for column in header}
    assert len(rows) == (len(body) if isinstance(body, list) else 1)
