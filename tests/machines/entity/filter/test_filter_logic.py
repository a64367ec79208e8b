"""Null and errors in a filter: a logic of three values, and an error that names the comparison."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.machines.entity.filter.entity_filter import compile_filter
from tests.machines.entity.harness import StoreHarness, people, write


@pytest.fixture(scope="module")
def one() -> StoreHarness:
    """One user without a parent and a manager."""
    harness = people()
    user = harness.create("User", None, "ada")
    harness.update(write(user, "Age", {"Int": 7}))
    return harness


def find(harness: StoreHarness, text: str) -> Any:
    """Whether the user is found, or the error."""
    response = harness.store_request(
        "StoreFindEntities", entity_type="User", page_opts=None, filter=text
    )
    return bool(response["Ok"]["items"]) if "Ok" in response else response["Err"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # Equality knows null.
        ("Manager == null", True),
        ("Manager != null", False),
        ('Manager == "User$1"', False),
        ('Manager != "User$1"', True),
        ("Manager->Age == null", True),
        ("Manager->Age == Parent->Age", True),
        ("Manager->Age in [1, 2]", False),
        # Everything else with null is unknown, and so not true.
        ("Manager->Age > 3", False),
        ("!(Manager->Age > 3)", False),
        ("Manager->Age > 3 || Manager->Age <= 3", False),
        ("!Manager->Active", False),
        ("Manager->Active", False),
        ('Parent->Name.startsWith("a")', False),
        ("size(Parent->Name) == 0", False),
        ("Manager->Age + 1 == 2", False),
        ("Manager->Age > 3 || Age == 7", True),
        ("Age == 7 || Manager->Age > 3", True),
        ("!(Manager->Age > 3 && Age == 8)", True),
        ("Manager->Age > 3 ? true : true", False),
        ("Age == 7 ? true : Manager->Age > 3", True),
        # An error that does not matter is no error.
        ("Age == 8 && Name > 3", False),
        ("Name > 3 && Age == 8", False),
        ("Name > 3 || Age == 7", True),
        ("Age == 7 ? true : Name > 3", True),
    ],
)
def test_null_is_unknown_except_to_equality(one: StoreHarness, text: str, found: bool) -> None:
    assert find(one, text) is found


@pytest.mark.parametrize(
    ("text", "column", "comparison"),
    [
        ("Name > 3", 1, "Name > 3"),
        ("Manager->Age > 3 && Name > 3", 21, "Name > 3"),
        ("Name > 3 && Manager->Age > 3", 1, "Name > 3"),
        ("Manager->Age > 3 || Name > 3", 21, "Name > 3"),
        ("!(Active && (Manager->Age > 3 || Name > 3))", 34, "Name > 3"),
        ("!!(Name > 3)", 4, "Name > 3"),
        ("Active && Name", 11, "Name"),
        ("!Name || !Active", 1, "!Name"),
        ("Active ? Age : 3", 10, "Age"),
        ("Active ? (Age > 7 ? true : Age / 0 == 1) : true", 28, "Age / 0 == 1"),
        ("Active && !Active ? true : Age > 7 ? true : Age / 0 == 1", 45, "Age / 0 == 1"),
        ("Active ? true && Name > 3 : true", 18, "Name > 3"),
        ("(Active ? Age : 3) > 3 && [1][5] == 1", 27, "[1][5] == 1"),
        ('Active && {"a": Age}["b"] == 1', 11, '{\\"a\\": Age}[\\"b\\"] == 1'),
        ("Active && Name.size() + Age == Name", 0, ""),
    ],
)
def test_an_error_names_the_comparison(
    one: StoreHarness, text: str, column: int, comparison: str
) -> None:
    found = find(one, text)
    if not column:
        assert found is False  # different kinds are not equal, which is no error
        return
    assert found.startswith(f'filter, line 1, column {column}, "{comparison}" for "User$')


def test_an_error_names_the_kinds(one: StoreHarness) -> None:
    assert find(one, "Active &&\n  Name > Age").startswith('filter, line 2, column 3, "Name > Age"')
    assert find(one, "Name > Age").endswith("(Name is String, Age is Int)")


# --- the logic, on random filters -----------------------------------------------------------------

#: Comparisons with their outcomes on the user: None is unknown, and `error` an error.
ATOMS = {
    "Age == 7": True,
    "Age > 7": False,
    "true": True,
    "Active": True,
    "!Active": False,
    "Manager->Age > 3": None,
    "Manager->Active": None,
    "Name > 3": "error",
    "Age": "error",
    "(Active ? Age : 3) > 9": False,
    '"a && b" == Name': False,
}
FILTERS = st.recursive(
    st.sampled_from(sorted(ATOMS)),
    lambda parts: st.one_of(
        st.tuples(st.just("!"), parts),
        st.tuples(st.sampled_from(["&&", "||"]), parts, parts),
        st.tuples(st.just("?"), parts, parts, parts),
    ),
    max_leaves=8,
)


def text_of(node: Any, *, brackets: bool) -> str:
    if isinstance(node, str):
        return node
    operator, *parts = node
    if operator == "!":
        return f"!({text_of(parts[0], brackets=False)})"
    if operator == "?":
        condition, yes, no = (text_of(part, brackets=True) for part in parts)
        text = f"{condition} ? {yes} : {no}"
    else:
        inner = [
            # `&&` binds more tightly than `||`, so only some brackets matter.
            text_of(
                part,
                brackets=not isinstance(part, str) and part[0] not in ("&&", "!", operator),
            )
            for part in parts
        ]
        text = f" {operator} ".join(inner)
    return f"({text})" if brackets else text


def outcome_of(node: Any) -> Any:
    if isinstance(node, str):
        return ATOMS[node]
    operator, *parts = node
    outcomes = [outcome_of(part) for part in parts]
    if operator == "!":
        (only,) = outcomes
        return not only if isinstance(only, bool) else only
    if operator == "?":
        condition, yes, no = outcomes
        return (yes if condition else no) if isinstance(condition, bool) else condition
    decisive = operator == "||"
    for each in (decisive, "error", None):
        if each in outcomes:
            return each
    return not decisive


@settings(max_examples=150)
@given(FILTERS)
def test_random_filters_agree_with_the_logic(one: StoreHarness, node: Any) -> None:
    text = text_of(node, brackets=False)
    found, outcome = find(one, text), outcome_of(node)
    if outcome == "error":
        assert isinstance(found, str), text
    else:
        assert found is (outcome is True), text


def test_comparisons_cost_steps() -> None:
    slots = people().store._records.schemas.slots("User")
    assert compile_filter("Age > 3", slots).cost == 2
    assert compile_filter(" && ".join(["Age > 3"] * 60), slots).cost == 2 + 15 + 3
