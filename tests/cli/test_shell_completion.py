"""What the shell completes at each place of a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from qcore.cli.clients.shared_clients import SharedClients
from qcore.cli.shell.cluster_names import ClusterNames
from qcore.cli.shell.completion import ShellCompleter
from qcore.cli.store.access.entity_names import set_current
from qcore.machines.entity.state.entity_schema import FieldSchema
from qcore.machines.entity.state.value import Value

FIELDS = {
    "Email": FieldSchema("String", "Email", Value("String", ""), 0, None, None, ()),
    "Role": FieldSchema("Choice", "Role", Value("Choice", 0), 1, None, None, ("Guest", "Boss x")),
    "Active": FieldSchema("Bool", "Active", Value("Bool", False), 2, None, None, ()),
    "Boss": FieldSchema(
        "EntityReference", "Boss", Value("EntityReference", None), 3, None, None, ()
    ),
}
BELOW = {(): ["Root"], ("Root",): ["Users", "a/b"], ("Root", "Users"): ["ada", "grace hopper"]}


class KnownNames(ClusterNames):
    """The names of a cluster that does not exist."""

    def types(self) -> list[str]:
        return ["User", "Folder"]

    def fields(self, entity_type: str) -> dict[str, FieldSchema]:
        return FIELDS if entity_type == "User" else {}

    def type_of(self, entity: str) -> str | None:
        return "User" if entity.startswith("Root") else None

    def type_behind(self, entity: str, path: str) -> str | None:
        return "User" if (entity, path) == ("Root", "Boss") else None

    def below(self, names: tuple[str, ...]) -> list[str]:
        return BELOW.get(names, [])


def complete(line: str, completer: ShellCompleter) -> list[str]:
    document = Document(line)
    return [
        line[: len(line) + found.start_position] + found.text
        for found in completer.get_completions(document, CompleteEvent())
    ]


@pytest.fixture(scope="module")
def completer() -> Iterator[ShellCompleter]:
    """A completer with known names."""
    with SharedClients() as clients:
        made = ShellCompleter(clients)
        made.names = KnownNames(clients, lambda: None)
        yield made


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("ge", ["get"]),
        ("mo", ["move"]),
        ("schema g", ["schema get"]),
        ("entity ren", ["entity rename"]),
        ("get --outp", ["get --output"]),
        ("get -o ", ["get -o table", "get -o json", "get -o csv"]),
        ("find F", ["find Folder"]),
        ("get R", ["get Root"]),
        ("get /R", ["get /Root"]),
        ("get Root/", ["get Root/Users", "get 'Root/a\\/b'"]),
        ("get Root/Users/g", ["get 'Root/Users/grace hopper'"]),
        ("get 'Root/Users/grace h", ["get 'Root/Users/grace hopper'"]),
        ("get Root E", ["get Root Email"]),
        ("get Root Email R", ["get Root Email Role"]),
        ("set Root A", ["set Root Active="]),
        ("set Root Active=t", ["set Root Active=true"]),
        ("set Root Role=", ["set Root Role=Guest", "set Root 'Role=Boss x'"]),
        ("set Root Boss=Root/U", ["set Root Boss=Root/Users"]),
        ("set Root --default R", ["set Root --default Role"]),
        ("create User x --parent R", ["create User x --parent Root"]),
        ("create User x E", ["create User x Email="]),
        ("move Root Root/U", ["move Root Root/Users"]),
        ("watch --type U", ["watch --type User"]),
        ("watch --type User E", ["watch --type User Email"]),
        ("watch Root R", ["watch Root Role"]),
        ("watch --type=User E", ["watch --type=User Email"]),
        ("watch --type User E --context R", ["watch --type User E --context Role"]),
        ("watch Root Role --context Role,E", ["watch Root Role --context Role,Email"]),
        ("watch Root Role --context Boss->E", ["watch Root Role --context 'Boss->Email'"]),
        ("find User --fields R", ["find User --fields Role"]),
        ("find User --fields Role,E", ["find User --fields Role,Email"]),
        ("find User --filter E", ["find User --filter Email"]),
        ("find User --filter 'E", ["find User --filter 'Email"]),
        ('find User --filter "Role > 1 && E', ['find User --filter "Role > 1 && Email']),
        ("find User --filter 'Boss->E", []),
        ("find User --filter 'Email == \"E", []),
        ("get Root Boss->E", ["get Root 'Boss->Email'"]),
        ("get Root Role->E", []),
        ("cd Root/U", ["cd Root/Users"]),
        ("get User$7", []),
        ("rename Root x y", []),
        ("nonsense x", []),
    ],
)
def test_each_place_of_a_line_has_its_words(
    line: str, completed: list[str], completer: ShellCompleter
) -> None:
    assert complete(line, completer) == completed


@pytest.mark.parametrize("command", ["load", "schema set", "export", "snapshot save"])
def test_files_are_completed(
    command: str, completer: ShellCompleter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "a b.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert complete(f"{command} exam", completer) == [f"{command} examples/"]
    assert complete(f"{command} examples/", completer) == [f"{command} 'examples/a b.yaml'"]


def test_paths_begin_at_the_current_entity(completer: ShellCompleter) -> None:
    set_current(["Root"])
    try:
        assert complete("get U", completer) == ["get Users"]
        assert complete("get ../R", completer) == ["get ../Root"]
        assert complete("get Users/a", completer) == ["get Users/ada"]
    finally:
        set_current(())


def test_a_silent_cluster_gives_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QCORE_ENDPOINTS", "127.0.0.1:1")
    with SharedClients() as clients:
        completer = ShellCompleter(clients)
        assert complete("get R", completer) == []
        assert complete("schema g", completer) == ["schema get"]
