"""Topology files: accepted files, errors with their lines, and loading through the log."""

from __future__ import annotations

import json

import pytest
import yaml

from qcore.errors import ConfigError
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.topology.topology_file import parse_topology
from qcore.machines.interface import ApplyContext
from tests.checkout import EXAMPLES
from tests.machines.entity.harness import EPOCH_US, StoreHarness, code, read

EXAMPLE = EXAMPLES / "topology.yaml"

GOOD = """\
schemas:
  - entity_type: User            # inherits from a type that comes later
    inherit: Object
    fields:
      Email: {default_value: {String: "?"}, rank: 3, choices: null}
      Active: {default_value: true, rank: 4}
      Age: {default_value: {Int: 18}, rank: 5, write_permission: User$7}
      Score: {default_value: 1.5, rank: 6}
      Role: {default_value: {Choice: Off}, rank: 7, choices: [On, Off]}
      Joined: {default_value: {Timestamp: 2024-01-01T00:00:00Z}, rank: 8}
      Key: {default_value: {Blob: [0, 255]}, rank: 9}
      Manager: {default_value: {EntityReference: null}, rank: 10}
      Friends: {default_value: {EntityList: [User$1]}, rank: 11}
  - entity_type: Object
    fields:
      Name: {default_value: {String: ""}, rank: 0}
      Parent: {default_value: {EntityReference: null}, rank: 1}
      Children: {default_value: {EntityList: []}, rank: 2}
  - {entity_type: Leaf, inherit: null, fields: {}}
tree:
  - entity_type: Object
    name: "Root"
    attributes: null
    children:
      - entity_type: User
        name: no
        attributes:
          Email: {String: "a@b"}
          Active: false
          Age: 3
          Score: 2
          Role: {Choice: 0}
          Joined: {Timestamp: "1970-01-01T01:00:00.25+01:00"}
          Key: {Blob: []}
          Manager: {EntityReference: User$9}
          Friends: {EntityList: []}
        children:
          - {entity_type: Leaf, name: leaf}
      - {entity_type: User, name: second, children: []}
  - {entity_type: Object, name: top}
"""


@pytest.fixture(params=["C parser", "Python parser"], autouse=True)
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML has two parsers, and some machines lack the one in C."""
    if request.param == "Python parser":
        monkeypatch.setattr(yaml, "__with_libyaml__", False)


def load(text: str) -> StoreHarness:
    harness = StoreHarness()
    harness.index = 5
    result = json.loads(
        harness.store.apply(parse_topology(text, "t").command(), ApplyContext(5, EPOCH_US))
    )
    assert result["LoadTopology"]["error"] is None
    return harness


def test_the_tree_is_created_in_order_with_its_attributes() -> None:
    harness = load(GOOD)
    root, user = {"typ": "Object", "id": 5}, {"typ": "User", "id": 6}
    leaf, second = {"typ": "Leaf", "id": 7}, {"typ": "User", "id": 8}
    assert harness.value(root, "Children") == {"EntityList": [user, second]}
    assert harness.value(user, "Children") == {"EntityList": [leaf]}
    assert harness.value(user, "Parent") == {"EntityReference": root}
    expected = {
        "Name": {"String": "no"},
        "Email": {"String": "a@b"},
        "Active": {"Bool": False},
        "Age": {"Int": 3},
        "Score": {"Float": 2.0},
        "Role": {"Choice": 0},
        "Joined": {"Timestamp": {"secs_since_epoch": 0, "nanos_since_epoch": 250_000_000}},
        "Key": {"Blob": []},
        "Manager": {"EntityReference": {"typ": "User", "id": 9}},
        "Friends": {"EntityList": []},
    }
    assert {name: harness.value(user, name) for name in expected} == expected
    defaults = {
        "Email": {"String": "?"},
        "Active": {"Bool": True},
        "Age": {"Int": 18},
        "Score": {"Float": 1.5},
        "Role": {"Choice": 1},
        "Joined": {"Timestamp": {"secs_since_epoch": 1_704_067_200, "nanos_since_epoch": 0}},
        "Key": {"Blob": [0, 255]},
        "Friends": {"EntityList": [{"typ": "User", "id": 1}]},
    }
    assert {name: harness.value(second, name) for name in defaults} == defaults
    schema = harness.send("GetSchema", entity_type="User")["response"]
    assert schema["fields"]["Age"]["Int"]["write_permission"] == {"typ": "User", "id": 7}
    # New entities do not get the ids of the loaded ones.
    assert harness.create("User")["id"] == 10


def test_a_topology_is_loaded_once() -> None:
    harness = load(GOOD)
    before = harness.store.state_hash()
    command = parse_topology("schemas: []", "t").command()
    for _ in range(2):
        result = json.loads(harness.store.apply(command, ApplyContext(9, EPOCH_US)))["LoadTopology"]
        assert (result["response"], code(result)) == (None, "AlreadyLoaded")
        assert harness.store.state_hash() == before
    other = EntityStore()
    other.restore(harness.store.snapshot())
    assert (
        json.loads(other.apply(command, ApplyContext(9, EPOCH_US)))["LoadTopology"]["error"]
        is not None
    )


def test_example_topology_loads() -> None:
    harness = load(EXAMPLE.read_text())
    result = harness.update(read({"typ": "Root", "id": 5}, "Children->0->Children->0->Name"))
    assert result["response"][0]["Read"]["value"] == {"String": "Ada"}


def test_a_file_without_a_tree_sets_schemas_only() -> None:
    text = GOOD[: GOOD.index("tree:")]
    assert load(text).send("GetSchema", entity_type="User")["error"] is None


def test_wrong_topology_command_is_a_harmless_error_value() -> None:
    entity: dict[str, object] = {
        "entity_type": "Ghost",
        "name": "x",
        "parent": None,
        "attributes": {},
    }
    for wrong in (entity, {**entity, "parent": 0}, {**entity, "parent": 10**30}):
        store = EntityStore()
        before = store.state_hash()
        command = {"LoadTopology": {"schemas": [], "entities": [wrong]}}
        result = json.loads(store.apply(json.dumps(command), ApplyContext(1, 0)))
        assert result["LoadTopology"]["error"] is not None
        assert store.state_hash() == before


def test_a_very_deep_tree_does_not_overflow_the_stack() -> None:
    depth = 400  # the C parser of PyYAML refuses more than 1000 nested containers
    node = "{entity_type: Object, name: x}"
    for _ in range(depth):
        node = "{entity_type: Object, name: x, children: [" + node + "]}"
    text = GOOD[: GOOD.index("tree:")] + f"tree: [{node}]"
    assert len(parse_topology(text, "t").entities) == depth + 1


def changed(old: str, new: str) -> tuple[str, int]:
    """`GOOD` with one change, and the line of the change."""
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new), GOOD[: GOOD.index(old)].count("\n") + 1


EMAIL = '{default_value: {String: "?"}, rank: 3, choices: null}'
WRONG = [
    # schemas
    (EMAIL, '{default_value: {Text: "?"}, rank: 3}', 'unknown kind "Text"'),
    (EMAIL, "{default_value: {}, rank: 3}", "a map with one key"),
    (EMAIL, '{default_value: {String: "?", Int: 1}, rank: 3}', "a map with one key"),
    (EMAIL, "{default_value: hello, rank: 3}", "only Bool, Int and Float may be bare"),
    (EMAIL, '{default_value: {String: "?"}}', "key 'rank' is missing"),
    (EMAIL, "{rank: 3}", "key 'default_value' is missing"),
    (EMAIL, '{default_value: {String: "?"}, rank: 3, kind: String}', 'unknown key "kind"'),
    (EMAIL, '{default_value: {String: "?"}, rank: x}', "rank must be a whole number"),
    (EMAIL, '{default_value: {String: "?"}, rank: 1.5}', "rank must be a whole number"),
    (EMAIL, '{default_value: {String: "?"}, rank: 3, choices: [a]}', "only a Choice has choices"),
    (EMAIL, "{default_value: {String: 5}, rank: 3}", "a String must be a text"),
    (EMAIL, "[]", "must be a map with the keys default_value, rank"),
    ("inherit: Object\n", "inherit: Ghost\n", 'inherits from unknown type "Ghost"'),
    ("inherit: Object\n", "inherit: 7\n", "inherit must be a text"),
    ("- entity_type: Object\n    fields:", "- entity_type: User\n    fields:", "already defined in line 2"),
    ("{entity_type: Leaf, inherit: null, fields: {}}", "{entity_type: Leaf}", "key 'fields' is missing"),
    ("{entity_type: Leaf, inherit: null, fields: {}}", "{entity_type: L$, fields: {}}", "'$'"),
    ("{entity_type: Leaf, inherit: null, fields: {}}", "{entity_type: L, fields: []}", "fields must be a map"),
    ("{entity_type: Leaf, inherit: null, fields: {}}", "{entity_type: L, inherit: L, fields: {}}", "itself"),
    ("{Choice: Off}", "{Choice: false}", 'false is no choice, but what other programs make of an unquoted On, Off'),
    ("{Choice: Off}", "{Choice: Maybe}", 'unknown choice "Maybe"; known choices: On, Off'),
    ("{Choice: Off}", "{Choice: 2}", "choices 0 to 1, not 2"),
    ("choices: [On, Off]", "choices: null", "unknown choice"),
    ("{Choice: Off}, rank: 7, choices: [On, Off]", "{Choice: 0}, rank: 7", "needs its choices"),
    ("2024-01-01T00:00:00Z", "2024-02-30T00:00:00Z", "a Timestamp is a text such as"),
    ("2024-01-01T00:00:00Z", "2024-01-01", "a Timestamp is a text such as"),
    ("2024-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "not before 1970"),
    ("2024-01-01T00:00:00Z", "{secs_since_epoch: -1, nanos_since_epoch: 0}", "must not be negative"),
    ("{Blob: [0, 255]}", "{Blob: [0, 256]}", "from 0 to 255"),
    ("{Blob: [0, 255]}", "{Blob: text}", "Blob must be a list"),
    ("{EntityList: [User$1]}", "{EntityList: [User1]}", "a text such as User$123"),
    ("{EntityList: [User$1]}", "{EntityList: [Ghost$1]}", 'unknown type "Ghost"'),
    ("write_permission: User$7", "write_permission: 7", "a text such as User$123"),
    ("default_value: 1.5", "default_value: .nan", "NaN and infinity are refused"),
    ("default_value: 1.5", "default_value: 1e999", "the number is too large"),
    ("{Int: 18}", "{Int: 9223372036854775808}", "does not fit into 64 bits"),
    ("{Int: 18}", "{Int: 1.0}", "an Int must be a whole number"),
    ("default_value: true", "default_value: {Bool: yes}", "must be true or false"),
    ('Name: {default_value: {String: ""}', "Name: {default_value: 5", "Name must be of kind String"),
    # the tree
    ("{entity_type: Leaf, name: leaf}", "{entity_type: Ghost, name: leaf}", '"Ghost" has no schema'),
    ("{entity_type: Leaf, name: leaf}", "{entity_type: Leaf}", "key 'name' is missing"),
    ("{entity_type: Leaf, name: leaf}", "{name: leaf}", "key 'entity_type' is missing"),
    ("{entity_type: Leaf, name: leaf}", "{entity_type: Leaf, name: 5}", "name must be a text"),
    ("{entity_type: Leaf, name: leaf}", "{entity_type: Leaf, name: x, child: []}", 'unknown key "child"'),
    ("{entity_type: Leaf, name: leaf}", "Leaf", "an entity must be a map"),
    (
        "{entity_type: Leaf, name: leaf}",
        "{entity_type: Leaf, name: x, children: [{entity_type: Leaf, name: y}]}",
        "has no field Children",
    ),
    ("Active: false", "Activ: false", 'type "User" has no field "Activ"'),
    ("Active: false", "Active: 1", "holds Bool, the value is Int"),
    ("Active: false", 'Active: "false"', "write {Bool: ...}"),
    ('Email: {String: "a@b"}', "Email: {Int: 1}", "holds String, the value is Int"),
    ('Email: {String: "a@b"}', "Parent: {EntityReference: null}", "Parent is set by the tree itself"),
    ("Key: {Blob: []}", "Age: 4", "key 'Age' is given twice, first in line 30"),
    ("attributes: null", "attributes: []", "attributes must be a map"),
    ("tree:", "trees:", 'unknown key "trees"'),
    # YAML itself
    ("{Choice: 0}", "{Choice: 0", "not valid YAML"),
    ("{Choice: 0}", "{Choice: \x07}", "not valid YAML"),
    ("{Choice: 0}", '"\\ud800"', ""),  # the parsers differ in the reason
    ("{Choice: 0}", "\ud800", "not valid YAML"),
    ("{Choice: 0}", "*unknown", "alias"),
    ("{Choice: 0}", "!!python/object:os.system 0", "tag"),
    ("{Choice: 0}", "{[1]: 0}", "a key must be a text"),
    ("{Choice: 0}", "{Choice: " + "1" * 5000 + "}", "more than 40 digits"),
    ("  - {entity_type: Object, name: top}", "---\nmore", "a second document"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "reason"), WRONG)
def test_mistake_is_refused_with_its_line_and_the_reason(old: str, new: str, reason: str) -> None:
    text, line = changed(old, new)
    with pytest.raises(ConfigError) as caught:
        parse_topology(text, "dir/t.yaml")
    message = str(caught.value)
    assert reason in message
    where, _, _ = message.partition(": ")
    source, line_text, column_text = where.split(":")
    assert source == "dir/t.yaml"
    assert 1 <= int(column_text) <= max(map(len, text.splitlines())) + 1
    # An unclosed bracket is only detected in the next line.
    assert int(line_text) in ({line, line + 1} if reason == "not valid YAML" else {line})


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "t:1:1: the file is empty"),
        ("[]", "t:1:1: the file must be a map"),
        ("a: 1", "t:1:1: a: the file: unknown key"),
    ],
)
def test_file_of_another_shape_is_refused(text: str, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_topology(text, "t")
    assert str(caught.value).startswith(where)


@pytest.mark.parametrize("old", ["name: no", 'Email: {String: "a@b"}'])
def test_a_value_that_is_too_large_is_rejected_with_its_line(
    old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qcore.machines.entity.state.field_values.MAX_VALUE_BYTES", 1000)
    line = GOOD[: GOOD.index(old)].count("\n") + 1
    long = "x" * 1000
    new = f'Email: {{String: "{long}"}}' if "Email" in old else f"name: {long}"
    with pytest.raises(ConfigError, match=rf"^t.yaml:{line}:.*the limit is 1000"):
        parse_topology(GOOD.replace(old, new), "t.yaml")


def test_cycle_of_several_types_is_refused() -> None:
    text = "schemas:\n" + "".join(
        f"  - {{entity_type: {one}, inherit: {two}, fields: {{}}}}\n"
        for one, two in (("A", "B"), ("B", "C"), ("C", "A"))
    )
    with pytest.raises(
        ConfigError, match=r'^t:2:19: schemas\[0\]\.entity_type: "A" inherits from itself'
    ):
        parse_topology(text, "t")
