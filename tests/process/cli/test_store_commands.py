"""`qcore entity`, `schema` and `load` against a real node."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qcore.cli.clients.connection import with_client
from qcore.cli.exits import ExitCode
from qcore.cli.store import load
from qcore.cli.store.access.entity_names import read_present
from qcore.client import Client, ReadField, parse_id
from qcore.errors import OutcomeUnknown
from tests.checkout import CHECKOUT
from tests.process.cli.conftest import Command

pytestmark = pytest.mark.process

TOPOLOGY = str(CHECKOUT / "examples" / "topology.yaml")

THING = """
entity_type: Thing
inherit: Object
fields:
  Text: {default_value: {String: ""}, rank: 10}
  Whole: {default_value: 1, rank: 11}
  Part: {default_value: 0.5, rank: 12}
  Flag: {default_value: false, rank: 13}
  Mood: {default_value: {Choice: Calm}, rank: 14, choices: [Calm, Wild]}
  At: {default_value: {Timestamp: "2024-01-01T00:00:00Z"}, rank: 15}
  Friend: {default_value: {EntityReference: null}, rank: 16}
  Others: {default_value: {EntityList: []}, rank: 17}
  Bytes: {default_value: {Blob: []}, rank: 18}
"""


def ok(command: Command, *words: str, stdin: str = "") -> str:
    done = command(*words, stdin=stdin)
    assert done.code == 0, done
    assert done.stderr == ""
    return done.stdout


def as_json(command: Command, *words: str) -> Any:
    return json.loads(ok(command, *words, "-o", "json"))


def rows(command: Command, *words: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(ok(command, *words, "-o", "csv"))))


@pytest.fixture
def things(store: Command) -> Command:
    """The topology of the examples, and the type Thing."""
    ok(store, "load", TOPOLOGY)
    ok(store, "schema", "set", "-", stdin=THING)
    return store


def test_values_of_every_kind_are_set_and_read_back(things: Command, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"\x00\xff")
    made = ok(things, "entity", "create", "Thing", "a/b", "Text=x=y", "Whole=-7").strip()
    assert (
        as_json(things, "entity", "get", "/a\\/b", "Text", "Whole")["fields"]["Whole"]["value"]
        == -7
    )
    given = {
        "Text": "two words, é",
        "Whole": "9223372036854775807",
        "Part": "2.5",
        "Flag": "true",
        "Mood": "Wild",
        "At": "2026-01-31T12:00:00.000000001Z",
        "Friend": made,
        "Others": f"{made},/Root",
        "Bytes": f"@{blob}",
    }
    words = [f"{name}={value}" for name, value in given.items()]
    root = as_json(things, "entity", "get", "Root")["entity_id"]
    shown = {**given, "Others": f"{made},{root}", "Bytes": "AP8="}
    header, *written = rows(things, "entity", "set", made, *words)
    assert header == ["field", "value", "write_time", "writer_id"]
    assert {row[0]: row[1] for row in written} == shown
    read = {row[0]: row[1] for row in rows(things, "entity", "get", made)[1:]}
    assert read == {"Name": "a/b", "Parent": "", "Children": "", **shown}
    values = as_json(things, "entity", "get", made)["fields"]
    assert values["Others"]["value"] == [made, root]
    assert (values["Flag"]["value"], values["Part"]["value"]) == (True, 2.5)
    ok(things, "entity", "set", made, "Friend=", "Text=", "--default", "Whole", "--default", "Mood")
    values = as_json(things, "entity", "get", made)["fields"]
    names = ("Friend", "Text", "Whole", "Mood")
    assert [values[name]["value"] for name in names] == [None, "", 1, "Calm"]


def test_a_wrong_value_writes_none_of_the_fields(things: Command) -> None:
    done = things("entity", "set", "Root/Users/Ada", "Logins=5", "Role=Boss")
    assert done.code == ExitCode.USAGE
    assert "the choices are Guest, Operator, Admin" in done.stderr
    assert (
        as_json(things, "entity", "get", "Root/Users/Ada", "Logins")["fields"]["Logins"]["value"]
        == 0
    )


def test_add_changes_numbers_texts_and_lists(things: Command) -> None:
    made = ok(things, "entity", "create", "Thing", "t", "Text=a", "Others=/Root").strip()
    added = rows(things, "entity", "add", made, "Whole=-3", "Part=1", "Text=b", "Others=Root/Users")
    users = as_json(things, "entity", "get", "Root/Users")["entity_id"]
    root = as_json(things, "entity", "get", "Root")["entity_id"]
    assert [row[1] for row in added[1:]] == ["-2", "1.5", "ab", f"{root},{users}"]
    assert things("entity", "add", made, "Flag=true").code == ExitCode.REJECTED


def test_a_path_leads_to_a_field_of_another_entity(things: Command) -> None:
    read = as_json(
        things, "entity", "get", "Root/Users/Ada", "Parent->Name", "Parent->Children->1->Role"
    )
    assert [field["value"] for field in read["fields"].values()] == ["Users", "Operator"]
    ok(things, "entity", "set", "Root/Users/Ada", "Parent->Children->1->Role=Guest")
    assert (
        as_json(things, "entity", "get", "Root/Users/Grace", "Role")["fields"]["Role"]["value"]
        == "Guest"
    )


def test_create_with_fields_is_all_or_nothing(things: Command) -> None:
    done = things(
        "entity", "create", "User", "bob", "--parent", "Root/Users", "Manager=User$999999"
    )
    assert done.code == 0, "a reference may dangle"
    assert things("entity", "create", "User", "eve", "Nope=1").code == ExitCode.REJECTED
    assert things("entity", "get", "/eve").code == ExitCode.REJECTED


def test_find_pages_filters_and_limits(things: Command) -> None:
    found = rows(things, "entity", "find", "User", "--fields", "Name,Role,Parent->Name", "--paths")
    assert found[0] == ["entity_id", "path", "Name", "Role", "Parent->Name"]
    assert [row[1:4] for row in found[1:]] == [
        ["/Root/Users/Ada", "Ada", "Admin"],
        ["/Root/Users/Grace", "Grace", "Operator"],
        ["/Root/Users/Visitor", "Visitor", "Guest"],
    ]
    filtered = as_json(things, "entity", "find", "User", "--filter", "Logins > 2 || Name == 'Ada'")
    assert [one["fields"] for one in filtered] == [{"Name": "Ada"}, {"Name": "Grace"}]
    assert len(rows(things, "entity", "find", "Object", "--limit", "4")) == 5
    assert rows(things, "entity", "find", "Object", "--exact") == [["entity_id", "Name"]]
    wrong = things("entity", "find", "User", "--filter", "Logins >")
    assert wrong.code == ExitCode.REJECTED


def test_the_tree_is_drawn_nested_and_listed(things: Command) -> None:
    lines = ok(things, "entity", "tree", "Root/Building").splitlines()
    assert [line.split("  ")[0] for line in lines if "lamp" not in line][:2] == [
        "Building",
        "├── Lobby",
    ]
    assert "│   └── Lobby lamp" in "\n".join(lines)
    (root,) = as_json(things, "entity", "tree", "--depth", "1")
    assert [child["name"] for child in root["children"]] == ["Users", "Building"]
    assert root["children"][0]["hidden"] == 3
    listed = rows(things, "entity", "tree")
    assert listed[0] == ["depth", "entity_id", "parent_id", "name", "hidden"]
    assert {row[2] for row in listed[1:]} <= {row[1] for row in listed[1:]} | {""}


def test_entities_are_moved_renamed_and_deleted(things: Command) -> None:
    moved = ok(things, "entity", "move", "Root/Users/Ada", "Root/Building")
    assert re.match(
        r"/Root/Users/Ada \(User\$\d+\) is below /Root/Building \(\w+\$\d+\) now", moved
    )
    named = ok(things, "entity", "rename", "Root/Building/Ada", "$7/x")
    assert re.match(r"/Root/Building/Ada \(User\$\d+\) has the name \$7/x now", named)
    ok(things, "entity", "move", "Root/Building/$7\\/x", "/")
    made = as_json(things, "entity", "get", "/$7\\/x", "Name")["entity_id"]
    refused = things("entity", "delete", "Root")
    assert refused.code == ExitCode.USAGE
    assert "and the 8 below it: add --yes" in refused.stderr
    assert as_json(things, "entity", "delete", "Root", "--yes")["deleted"] == 9
    assert [row[1] for row in rows(things, "entity", "tree")[1:]] == [made]
    assert "the top level and no entity" in things("entity", "get", "/").stderr


def test_a_schema_is_read_and_set_in_both_forms(things: Command) -> None:
    wire = as_json(things, "schema", "get", "Thing")
    assert ok(things, "schema", "set", "-", stdin=json.dumps([wire])) == "type Thing is set\n"
    assert as_json(things, "schema", "get", "Thing") == wire
    fields = rows(things, "schema", "get", "Thing", "--complete")
    assert fields[0] == ["field", "kind", "default", "rank", "choices", "from"]
    assert ["Mood", "Choice", "Calm", "14", "Calm,Wild", "Thing"] in fields
    assert ["Name", "String", "", "0", "", "Object"] in fields
    assert ["Thing", "Object", "9"] in rows(things, "schema", "list")

    ok(things, "entity", "create", "Folder", "Key")
    key = rows(things, "entity", "find", "Folder", "--filter", 'Name == "Key"')[1][0]
    locked = THING.replace("rank: 11", f"rank: 11, write_permission: {key}")
    ok(things, "schema", "set", "-", stdin=locked)
    header, *fields = rows(things, "schema", "get", "Thing")
    assert header == ["field", "kind", "default", "rank", "choices", "write_permission", "from"]
    assert ["Whole", "Int", "1", "11", "", key, "Thing"] in fields
    assert ["Text", "String", "", "10", "", "", "Thing"] in fields


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "standard input:2:1: not valid YAML"),
        (
            "entity_type: A\nfields: {B: {default_value: 1}}",
            "2:13: fields.B: field \"B\": key 'rank'",
        ),
        ("entity_type: A\ninherit: Nowhere\nfields: {}", 'unknown type "Nowhere"'),
        (
            '{"entity_type": "A", "inherit": null, "fields": {"B": {"Int": {"field_type": "B"}}}}',
            "1:56: fields.B.Int",
        ),
        ("entity_type: A$\nfields: {}", "must not be empty or contain '$'"),
        ("[1]", "must be a map"),
    ],
)
def test_a_wrong_schema_names_the_place(store: Command, text: str, reason: str) -> None:
    done = store("schema", "set", "-", stdin=text)
    assert done.code == ExitCode.USAGE, done
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_load_repeated_changes_nothing(things: Command, tmp_path: Path) -> None:
    """Also with references in both directions, and when entities and fields are missing or differ."""
    file = tmp_path / "file.yaml"
    file.write_text(
        "schemas:\n"
        "  - entity_type: Pair\n"
        "    inherit: Thing\n"
        "    fields: {Best: {default_value: {EntityReference: Pair$2}, rank: 50}}\n"
        "tree:\n"
        "  - entity_type: Folder\n"
        "    name: pairs\n"
        "    children:\n"
        "      - {entity_type: Pair, name: a, id: Pair$1, attributes: {Friend: {EntityReference: Pair$2}}}\n"
        "      - {entity_type: Pair, name: a, id: Pair$2, attributes: {Others: {EntityList: [Pair$1, Pair$2]}}}\n"
    )
    dry = as_json(things, "load", str(file), "--dry-run")
    assert things("schema", "get", "Pair").code == ExitCode.REJECTED, "a dry run changes nothing"
    first = as_json(things, "load", str(file))
    assert dry == {**first, "dry_run": True}
    assert (first["types_created"], first["entities_created"], first["fields_written"]) == (1, 3, 4)
    one, two = (row[0] for row in rows(things, "entity", "find", "Pair")[1:])
    values = as_json(things, "entity", "get", two, "Others", "Best")["fields"]
    assert values["Others"]["value"] == [one, two]
    assert values["Best"]["value"] == two, "the default of the schema"
    again = as_json(things, "load", str(file))
    assert {key for key, value in again.items() if value} == {"entities_unchanged"}
    ok(things, "entity", "set", one, "Friend=")
    ok(things, "entity", "delete", two, "--yes")
    mended = as_json(things, "load", str(file))
    assert mended["entities_created"] == 1
    assert mended["entities_changed"] == 1
    assert as_json(things, "load", str(file))["entities_unchanged"] == 3


def test_an_entity_of_another_type_at_a_path_is_refused(things: Command, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text("schemas: []\ntree: [{entity_type: Folder, name: Root}]\n")
    done = things("load", str(file))
    assert done.code == ExitCode.REJECTED
    assert "/Root is Root$" in done.stderr


def test_an_export_loads_into_the_cluster_unchanged(things: Command, tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    ok(things, "export", str(file))
    as_json(things, "load", str(file))  # a type of another test may have a default that is gone
    again = as_json(things, "load", str(file))
    assert {key: value for key, value in again.items() if value} == {"entities_unchanged": 10}


def test_a_load_that_failed_in_the_middle_goes_on(
    store: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In small requests, of which one has an unknown outcome."""
    monkeypatch.setattr(load, "_CREATES", 3)
    monkeypatch.setattr(load, "_WRITES", 4)
    with monkeypatch.context() as broken:
        broken.setattr(Client, "update", lost_after(2, Client.update))
        done = store("load", TOPOLOGY)
    assert done.code == ExitCode.UNKNOWN
    assert "run the same command again: it goes on where this one ended" in done.stderr
    rest = as_json(store, "load", TOPOLOGY)
    assert rest["entities_created"] == 0
    assert rest["fields_written"] == 15 - 8
    assert as_json(store, "load", TOPOLOGY)["fields_written"] == 0
    assert len(as_json(store, "entity", "find", "Object")) == 10


def lost_after(sent: int, update: Callable[..., Any]) -> Callable[..., Any]:
    """`Client.update` that reports an unknown outcome after so many requests."""
    left = [sent]

    async def limited(client: Client, *arguments: Any) -> Any:
        if not left[0]:
            raise OutcomeUnknown("the response is lost")
        left[0] -= 1
        return await update(client, *arguments)

    return limited


def test_reads_of_many_entities_leave_out_deleted_ones(things: Command) -> None:
    users = [row[0] for row in rows(things, "entity", "find", "User")[1:]]
    ids = [parse_id(user) for user in (users[0], "User$999999", users[1], "User$999998", users[2])]

    async def work(client: Client) -> list[str | None]:
        found = await read_present(client, [ReadField(each, "Name") for each in ids])
        return [None if field is None else str(field.value) for field in found]

    names = with_client(os.environ["QCORE_ENDPOINTS"], 10.0, work)
    assert names == ["Ada", None, "Grace", None, "Visitor"]


def test_an_interrupted_load_says_what_it_did(
    store: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupt(*_: object) -> None:
        raise asyncio.CancelledError  # what Ctrl-C does to the request under way

    with monkeypatch.context() as patched:
        patched.setattr("qcore.cli.store.load._write", interrupt)
        stopped = store("load", TOPOLOGY)
    assert stopped.code == ExitCode.INTERRUPTED
    (line,) = stopped.stderr.splitlines()
    found = re.search(
        r"^interrupted: .* (\d+) entities created .* run the same command again", line
    )
    assert found is not None, line
    assert int(found[1]) > 1
    assert "entities: 0 created" in ok(store, "load", TOPOLOGY)
