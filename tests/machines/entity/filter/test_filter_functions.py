"""Every function of a filter on every kind of value, in every way to write it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from qcore.machines.entity.filter.filter_text import FUNCTIONS, METHODS, TIME_METHODS
from tests.machines.entity.harness import StoreHarness, people, write

#: By field, the value of the entity that the filters are evaluated on.
FIELDS = ("Key", "Active", "Role", "Friends", "Manager", "Score", "Age", "Email", "Joined")
#: A duration, which no field can hold, and null.
OTHERS = ('(Joined - timestamp("2020-01-02T00:00:00Z"))', "Parent")
#: What each function gives on each value that it takes. Everything else is an error that names the function.
RESULTS: dict[str, dict[str, str]] = {
    "size(_)": {"Key": "2", "Friends": "1", "Manager": "6", "Email": "3"},
    "_.size()": {"Key": "2", "Friends": "1", "Manager": "6", "Email": "3"},
    '_.startsWith("Us")': {"Manager": "true", "Email": "false"},
    '_.endsWith("5")': {"Manager": "true", "Email": "true"},
    '_.contains("ser")': {"Manager": "true", "Email": "false"},
    "int(_)": {"Role": "1", "Score": "2", "Age": "7", "Email": "125"},
    "uint(_)": {"Role": "1u", "Score": "2u", "Age": "7u", "Email": "125u"},
    "double(_)": {"Role": "1.0", "Score": "2.5", "Age": "7.0", "Email": "125.0"},
    "string(_)": {
        "Key": '"ab"',
        "Role": '"1"',
        "Manager": '"User$5"',
        "Score": '"2.5"',
        "Age": '"7"',
        "Email": '"125"',
        "Joined": '"2020-01-02T03:04:05.678901+00:00"',
        OTHERS[0]: '"3h4m5.678901s"',
    },
    "timestamp(_)": {"Joined": "Joined"},
    "duration(_)": {OTHERS[0]: OTHERS[0]},
    "_.getFullYear()": {"Joined": "2020"},
    "_.getMonth()": {"Joined": "0"},
    "_.getDate()": {"Joined": "2"},
    "_.getDayOfMonth()": {"Joined": "1"},
    "_.getDayOfWeek()": {"Joined": "4"},
    "_.getDayOfYear()": {"Joined": "1"},
    "_.getHours()": {"Joined": "3", OTHERS[0]: "3"},
    "_.getMinutes()": {"Joined": "4", OTHERS[0]: "184"},
    "_.getSeconds()": {"Joined": "5", OTHERS[0]: "11045"},
    "_.getMilliseconds()": {"Joined": "678", OTHERS[0]: "11045678"},
}


@pytest.fixture(scope="module")
def house() -> StoreHarness:
    harness = people()
    harness.create("Folder")
    user = harness.create("User")
    values: dict[str, Any] = {
        "Key": {"Blob": [97, 98]},
        "Role": {"Choice": 1},
        "Friends": {"EntityList": [user]},
        "Manager": {"EntityReference": user},
        "Score": {"Float": 2.5},
        "Age": {"Int": 7},
        "Email": {"String": "125"},
        "Joined": {"Timestamp": {"secs_since_epoch": 1577934245, "nanos_since_epoch": 678_901_000}},
    }
    for name, value in values.items():
        harness.update(write(user, name, value))
    return harness


def found(harness: StoreHarness, text: str) -> Any:
    response = harness.store_request(
        "StoreFindEntities", entity_type="User", page_opts=None, filter=text
    )
    return len(response["Ok"]["items"]) if "Ok" in response else response["Err"]


def name_of(form: str) -> str:
    return form.partition("(")[0].removeprefix("_.")


@pytest.mark.parametrize("form", RESULTS)
def test_a_function_on_each_kind_of_value(house: StoreHarness, form: str) -> None:
    for operand in (*FIELDS, *OTHERS):
        call = form.replace("_", operand)
        result = RESULTS[form].get(operand)
        if result is not None:
            assert found(house, f"{call} == {result}") == 1, call
        elif operand == "Parent":  # null
            assert found(house, f"{call} == 1") == found(house, f"{call} != 1") == 0
        else:
            error = found(house, f"{call} == 1")
            name = name_of(form)
            # A reference is a text for CEL, which holds no number.
            reason = rf"the function {name} does not take these values|Function '{name}' error: "
            assert re.search(reason, error), call


def test_the_table_has_every_function() -> None:
    methods = {name_of(form) for form in RESULTS if form.startswith("_")}
    functions = {name_of(form) for form in RESULTS if not form.startswith("_")}
    assert methods == METHODS | TIME_METHODS
    assert functions == FUNCTIONS


@pytest.mark.parametrize("name", sorted(FUNCTIONS - METHODS))
def test_a_function_written_as_a_method(house: StoreHarness, name: str) -> None:
    error = found(house, f"Active && Age.{name}() == 1")
    assert f"line 1, column 15: the function {name} is written before its value: {name}(" in error


@pytest.mark.parametrize("name", sorted((METHODS | TIME_METHODS) - FUNCTIONS))
def test_a_method_written_as_a_function(house: StoreHarness, name: str) -> None:
    error = found(house, f"Active && {name}(Joined) == 1")
    assert f"line 1, column 11: the function {name} is written after its value: " in error


@pytest.mark.parametrize("name", sorted(TIME_METHODS))
def test_times_are_utc(house: StoreHarness, name: str) -> None:
    error = found(house, f'Joined.{name}("Europe/Berlin") == 1')
    assert f"line 1, column 8: {name} has no argument: a timestamp is in UTC" in error


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('timestamp("x") == Joined', "Function 'timestamp' error: premature end of input"),
        ('int("x") == 1', "Function 'int' error: string parse error"),
        ("int(1e30) == 1", "Function 'int' error: integer overflow"),
        ("uint(-1) == 1u", "Function 'uint' error: unsigned integer overflow"),
        ("size() == 1", "the function size does not take these values"),
        ('Name.startsWith("a", "b")', "the function startsWith does not take these values"),
        ("bool(Active)", 'the function "bool" is not available'),
    ],
)
def test_a_function_that_fails(house: StoreHarness, text: str, why: str) -> None:
    assert why in found(house, text)
