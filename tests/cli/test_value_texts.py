"""Values as texts: what the command line writes, it reads as the same value."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.cli.store.access.entity_names import is_id, join_path, split_path
from qcore.cli.store.access.value_texts import text_of, value_from_text
from qcore.cli.store.arguments import split_assignment
from qcore.client import Choice, EntityId, Timestamp, Value, WritableValue, parse_id
from qcore.client.entity_values import encode_value
from qcore.errors import ConfigError
from qcore.machines.entity.state.entity_schema import FieldSchema
from qcore.machines.entity.state.field_values import value_from_json
from qcore.machines.entity.state.value import Kind

IDS = st.builds(
    EntityId,
    st.text(min_size=1).filter(lambda name: "$" not in name and name[0] != "/"),
    st.integers(0, 2**64 - 1),
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]))

#: Kind -> its values.
VALUES: dict[Kind, st.SearchStrategy[Value]] = {
    "String": st.text(),
    "Int": st.integers(-(2**63), 2**63 - 1),
    "Float": st.floats(allow_nan=False, allow_infinity=False),
    "Bool": st.booleans(),
    "Blob": st.binary(),
    "Timestamp": st.builds(Timestamp, st.integers(0, 2**58), st.integers(0, 10**9 - 1)),
    "EntityReference": st.none() | IDS,
    "EntityList": st.lists(IDS),
}


def schema(kind: Kind, choices: tuple[str, ...] = ()) -> FieldSchema:
    default = value_from_json({"Int": 0})
    return FieldSchema(kind, "F", default, 0, None, None, choices)


def read(kind: Kind, text: str, choices: tuple[str, ...] = ()) -> WritableValue:
    async def find(name: str) -> EntityId:
        assert is_id(name)
        return parse_id(name)

    return asyncio.run(value_from_text(schema(kind, choices), text, find))


@pytest.mark.parametrize("kind", VALUES)
@given(data=st.data())
def test_a_value_becomes_a_text_and_the_same_value(kind: Kind, data: st.DataObject) -> None:
    value = data.draw(VALUES[kind])
    text = text_of(value)
    again = read(kind, text)
    assert encode_value(again) == encode_value(value)
    assert isinstance(again, type(value))
    if isinstance(value, float):
        assert isinstance(again, float)
        assert math.copysign(1, again) == math.copysign(1, value)


@given(choices=st.lists(NAMES, unique=True, max_size=4), data=st.data())
def test_a_choice_is_read_by_its_name(choices: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, max(len(choices) - 1, 0)))
    assert read("Choice", text_of(Choice(index), tuple(choices)), tuple(choices)) == Choice(index)


@given(st.lists(st.text()))
def test_a_path_is_split_into_the_names_it_was_made_of(names: list[str]) -> None:
    path = join_path(names)
    assert path.startswith("/")
    assert not is_id(path)
    assert split_path(path) == names


@pytest.mark.parametrize(
    ("kind", "text", "advice"),
    [
        ("Int", "1.5", "write a whole number"),
        ("Int", str(2**63), "does not fit"),
        ("Float", "inf", "finite"),
        ("Float", "a", "write a number"),
        ("Bool", "yes", "write true or false"),
        ("Choice", "2", "the choices are A, B"),
        ("Timestamp", "2026-01-31", "with a time zone"),
        ("Timestamp", "2026-01-31T12:00:00", "with a time zone"),
        ("EntityList", "[1]", "JSON list"),
        ("Blob", "@/nowhere", "cannot read /nowhere"),
        ("Blob", "a", "base64"),
    ],
)
def test_a_text_of_another_kind_says_what_to_write(kind: Kind, text: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice) as raised:
        read(kind, text, ("A", "B"))
    assert str(raised.value).startswith("F: ")


def test_ids_paths_and_assignments_differ() -> None:
    assert is_id("User$7")
    assert not is_id("/User$7")
    assert not is_id("User")
    assert split_path("Root/a\\/b\\\\/") == ["Root", "a/b\\"]
    assert split_path("./Root") == ["Root"]
    with pytest.raises(ConfigError, match="above the top level"):
        split_path("..")
    with pytest.raises(ConfigError, match="ends with a backslash"):
        split_path("a\\")
    assert split_assignment("Text=a=b") == ("Text", "a=b")
    with pytest.raises(ConfigError, match="FIELD=VALUE"):
        split_assignment("Text")
