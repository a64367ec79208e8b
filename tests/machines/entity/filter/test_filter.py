"""Filters in CEL: what they find, where their errors are, and what a hostile one cannot do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qcore.errors import BadFilter
from qcore.machines.entity.filter.entity_filter import compile_filter
from qcore.machines.entity.filter.filter_text import MAX_CHARACTERS, rewrite
from tests.machines.entity.harness import StoreHarness, field, people, schema, write


@pytest.fixture(scope="module")
def house() -> StoreHarness:
    harness = people()
    root = harness.create("Folder", None, "Boiler")
    for name, age, active in (("ada", 20, True), ("bob", 7, True), ("eve", 40, False)):
        user = harness.create("User", root if name != "eve" else None, name)
        harness.update(
            write(user, "Age", {"Int": age}),
            write(user, "Active", {"Bool": active}),
            write(user, "Manager", {"EntityReference": user if name == "ada" else None}),
        )
    return harness


def names(harness: StoreHarness, text: str, entity_type: str = "User") -> list[str]:
    page = harness.ok("StoreFindEntities", entity_type=entity_type, page_opts=None, filter=text)
    assert (page["total"], page["next_cursor"]) == (None, None)
    return [harness.value(one, "Name")["String"] for one in page["items"]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Active && Age > 3 && Parent->Name == "Boiler"', ["ada", "bob"]),
        ('Parent -> Name == "Boiler"', ["ada", "bob"]),
        ("Age >= 20", ["ada", "eve"]),
        ("Age>=20||!Active", ["ada", "eve"]),
        ("Age - 3 == 4", ["bob"]),
        ("Age->Name == 1", []),
        ("Manager == null", ["bob", "eve"]),
        ("Manager != null && Manager->Age == Age", ["ada"]),
        ("Parent->Children->1->Name == Name", ["bob"]),
        ("Parent->Children->9->Age > 3", []),
        ("Parent->Age > 3", []),  # the parent has no Age: no match
        ("Score == 0.5", ["ada", "bob", "eve"]),
        ("Role == 0 && Key == b'\\x01'", ["ada", "bob", "eve"]),
        ('Joined < timestamp("2000-01-01T00:00:00Z")', ["ada", "bob", "eve"]),
        ("Joined.getFullYear() == 1970", ["ada", "bob", "eve"]),
        ("size(Friends) == 0 && Name.size() == 3", ["ada", "bob", "eve"]),
        ('Name.startsWith("a") || Name.endsWith("e")', ["ada", "eve"]),
        ('Name in ["bob", "eve"]', ["bob", "eve"]),
        ("Active ? Age < 10 : Age > 30", ["bob", "eve"]),
        ("true", ["ada", "bob", "eve"]),
        ("false // Age > 3", []),
        ("Name == \"Parent->Name\" || Name == 'Age'", []),
        ('Name == r"a\\da" || """x"y""" == Name', []),
        ("string(Age) == '7'", ["bob"]),
    ],
)
def test_what_a_filter_finds(house: StoreHarness, text: str, found: list[str]) -> None:
    assert names(house, text) == found


def test_types_below_may_lack_what_the_filter_compares(house: StoreHarness) -> None:
    assert names(house, 'Name == "Boiler" && Parent == null', "Object") == ["Boiler"]
    text = house.error("StoreFindEntities", entity_type="Object", page_opts=None, filter="Age > 3")
    assert 'line 1, column 1: the type has no field "Age"' in text


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (
            "Age >",
            "line 1, column 6: not valid CEL: unexpected end: something is missing; complete",
        ),
        ("(Active", "line 1, column 8: not valid CEL: unexpected end: ')' is missing; complete"),
        ("Age > 3 Active", 'line 1, column 9: not valid CEL: unexpected "Active": remove it'),
        ("Age > 3 &&\n  && Active", "line 2, column 3: not valid CEL"),
        ("Parent->Name == 'x' && Age >", "line 1, column 29: not valid CEL"),
        ("Parent->Name == 'x' && ) > 3", "line 1, column 24: not valid CEL"),
        ("", "not valid CEL"),
        ('Name == "open', "line 1, column 9: a text without its closing quote"),
        ("Age # 3", 'line 1, column 5: unexpected "#"'),
        ("Active && Nope > 3", 'line 1, column 11: the type has no field "Nope"'),
        ("Nope->Name == 'x'", 'line 1, column 1: the type has no field "Nope"'),
        ("Name > 3", 'for "User$'),
        ("Age", "is not true or false"),
        ("Age / 0 == 1", 'for "User$'),
        ("Age + 9223372036854775807 > 0", 'for "User$'),
        ("[1].all(x, x > 0)", 'line 1, column 5: the function "all" is not available'),
        ('Name.matches("(a+)+$")', 'the function "matches" is not available'),
        ("Parent.Name == 'x'", 'line 1, column 8: a value has no part "Name"'),
        ("(" * 40 + "1" + ")" * 40, "line 1, column 17: more than 16 brackets"),
        ("!" * 40 + "Active", "line 1, column 17: more than 16 brackets"),
        ("Active" + " && Active" * 200, "parts: shorten it"),
        ("x" * (MAX_CHARACTERS + 1), "the limit is 2048"),
    ],
)
def test_an_error_names_the_position(house: StoreHarness, text: str, where: str) -> None:
    error = house.error("StoreFindEntities", entity_type="User", page_opts=None, filter=text)
    assert where in error


def test_fields_with_names_that_cel_reserves() -> None:
    reserved = ["as", "for", "size", "int", "namespace", "v0"]
    harness = StoreHarness(schema("T", None, *(field("Int", name, 1) for name in reserved)))
    harness.create("T")
    text = " && ".join(f"{name} == 1" for name in reserved)
    found = harness.ok("StoreFindEntities", entity_type="T", page_opts=None, filter=text)
    assert len(found["items"]) == 1


def test_large_values_cannot_be_multiplied(house: StoreHarness) -> None:
    harness = people()
    user = harness.create("User")
    harness.update(write(user, "Email", {"String": "x" * 100_000}))
    assert names(harness, "size(Email) == 100000") == ["x"]
    text = " + ".join(["Email"] * 100) + ' != ""'
    error = harness.error("StoreFindEntities", entity_type="User", page_opts=None, filter=text)
    assert "it uses large values too often" in error
    harness.update(write(user, "Friends", {"EntityList": [user] * 1001}))
    error = harness.error(
        "StoreFindEntities", entity_type="User", page_opts=None, filter="size(Friends) > 0"
    )
    assert "a filter can use 1000" in error


WORDS = "Age Name Parent->Name Active -> ( ) [ ] { } ! - && || == < > + * / ? : , . 3 1.5 'a' \""
MORE_WORDS = "null true in size has // \\ é b'x' 7u 0x1F 1e400"
PIECES = st.sampled_from([*WORDS.split(), *MORE_WORDS.split(), "\n", " "])


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=12).map(" ".join) | st.text(max_size=40))
@example("1e400 == 1.0")
@example("-9223372036854775808 == Age")
@example("{} == {}")
@example("'\\ud800' == Name")
@example("Name == '\\q'")
def test_any_text_is_a_filter_or_a_bad_one(house: StoreHarness, text: str) -> None:
    harness = house
    response: Any = harness.store_request(
        "StoreFindEntities", entity_type="User", page_opts=None, filter=text
    )
    assert list(response) in (["Ok"], ["Err"])


TEXTS = st.text(st.sampled_from("ab->\"'\\ \n/vA0"), max_size=12)


@settings(max_examples=200)
@given(TEXTS)
def test_texts_in_quotes_stay_as_they_are(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    found = rewrite(f'Name == "{escaped}" && Age > 3')
    assert found.cel == f'v0 == "{escaped}" && v1 > 3'
    assert [path for path, _ in found.paths] == ["Name", "Age"]


NUMBERS = st.integers(-50, 50)
COMPARISONS = st.tuples(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), NUMBERS)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(COMPARISONS, st.sampled_from(["&&", "||"])), min_size=1, max_size=6),
    st.booleans(),
)
def test_filters_agree_with_python(house: StoreHarness, parts: list[Any], negated: bool) -> None:
    text, python = "", ""
    for position, ((operator, number), joiner) in enumerate(parts):
        if position:
            text, python = f"({text}) {joiner} ", f"({python}) {'and' if joiner == '&&' else 'or'} "
        text += f"Age {operator} {number}"
        python += f"age {operator} {number}"
    if negated:
        text, python = f"!({text})", f"not ({python})"
    ages = {"ada": 20, "bob": 7, "eve": 40}
    expected = [name for name, age in ages.items() if eval(python, {"age": age})]
    assert names(house, text) == expected


def test_a_compiled_filter_counts_its_paths() -> None:
    harness = people()
    slots = harness.store._records.schemas.slots("User")
    assert compile_filter("Age > 3 && Parent->Name == Name", slots).cost == 4
    with pytest.raises(BadFilter):
        compile_filter("Nope", slots)
