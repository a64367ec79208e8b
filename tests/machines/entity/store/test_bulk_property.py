"""A bulk command equals its requests as single commands, one after the other, or it changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any  # requests and results are JSON, compared without a type

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcore.core.version import LATEST_RULES
from qcore.machines.entity.transaction import Transaction
from qcore.machines.interface import ApplyContext
from tests.machines.entity.harness import StoreHarness, people, read, write
from tests.machines.entity.store.test_bulk import create, delete, made, move, rename
from tests.machines.entity.store.test_indexes import contents

TYPES = ("Folder", "User")
#: The entities that exist before the command.
START: list[dict[str, Any]] = [{"typ": TYPES[number % 2], "id": 4 + number} for number in range(6)]
TEXTS = st.sampled_from(["a", "b", "é", "x" * 600])
AMOUNTS = st.integers(-3, 3)
MODES = st.fixed_dictionaries(
    {
        "push_condition": st.sampled_from(["Always", "Changes"]),
        "adjust_behavior": st.sampled_from(["Set", "Add", "Subtract"]),
    }
)


def start(rules: int) -> StoreHarness:
    """A store whose first entities were created under these rules."""
    harness = people(rules)
    for number, expected in enumerate(START):
        parent = START[number - 2] if number > 2 else None
        assert harness.create(expected["typ"], parent, f"e{number}") == expected
    harness.rules = LATEST_RULES
    return harness


@st.composite
def lists(draw: Callable[[st.SearchStrategy[Any]], Any]) -> list[dict[str, Any]]:
    """Requests that mostly succeed: their ids are those of entities that exist or were created before."""
    requests: list[dict[str, Any]] = []
    known = st.sampled_from(START)
    created: list[int] = []
    for position in range(draw(st.integers(1, 8))):
        ids = known if not created else known | st.sampled_from(created).map(made)
        one, other = draw(ids), draw(st.none() | ids)
        kind = draw(
            st.sampled_from(["create", "create", "write", "read", "rename", "move", "delete"])
        )
        if kind == "create":
            requests.append(create(other, draw(TEXTS), draw(st.sampled_from(TYPES))))
            created.append(position)
        elif kind == "write":
            field, value = draw(
                st.one_of(
                    st.tuples(st.just("Age"), AMOUNTS.map(lambda number: {"Int": number})),
                    st.tuples(st.just("Name"), TEXTS.map(lambda text: {"String": text})),
                    st.tuples(
                        st.sampled_from(["Parent", "Manager", "Parent->Parent"]),
                        st.just({"EntityReference": other}),
                    ),
                    st.tuples(
                        st.sampled_from(["Children", "Friends", "Parent->Children"]),
                        st.lists(ids, max_size=3).map(lambda items: {"EntityList": items}),
                    ),
                )
            )
            requests.append(write(one, field, draw(st.just(value) | st.none()), **draw(MODES)))
        elif kind == "read":
            requests.append(read(one, draw(st.sampled_from(["Name", "Children", "Parent->Name"]))))
        elif kind == "rename":
            requests.append(rename(one, draw(TEXTS)))
        elif kind == "move":
            requests.append(move(one, other))
        else:
            requests.append(delete(one))
    return requests


def filled_in(value: Any, created: dict[int, Any]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"created"}:
            return created[value["created"]]
        return {key: filled_in(part, created) for key, part in value.items()}
    return [filled_in(part, created) for part in value] if isinstance(value, list) else value


def state(harness: StoreHarness) -> tuple[object, ...]:
    """The bytes of the state, and what is derived from it."""
    records = harness.store._records
    positions = {parent: held for parent, held in records.child_positions.items() if held}
    of_types = {typ: list(numbers) for typ, numbers in records.by_type.items()}
    derived = (contents(records.names), positions, of_types)
    return "".join(harness.store.snapshot()), harness.store.state_hash(), derived


def changes_of(harness: StoreHarness) -> list[tuple[str, ...]]:
    """What the last command changed, as watches see it."""
    return [(*change.topics, change.body) for change in harness.store.last_changes()]


def apply(harness: StoreHarness, context: ApplyContext, request: dict[str, Any]) -> Any:
    return json.loads(harness.store.apply(json.dumps(request), context))["response"]


def one_by_one(
    harness: StoreHarness, context: ApplyContext, requests: list[dict[str, Any]]
) -> tuple[list[Any], list[tuple[str, ...]], str | None]:
    """Apply the requests as single commands of the same time.

    Returns:
        their results in the form of a bulk command, their changes, and the error of the one that failed.
    """
    created: dict[int, Any] = {}
    results: list[Any] = []
    changes: list[tuple[str, ...]] = []
    for position, request in enumerate(requests):
        ((kind, body),) = filled_in(request, created).items()
        single = (
            {"StorePerform": {"requests": [{kind: body}]}}
            if kind in ("Read", "Write")
            else {f"Store{kind}": body}
        )
        response = apply(harness, context, single)
        if "Err" in response:
            return results, changes, f"StoreBulk.requests.{position}.{kind}: {response['Err']}"
        changes += changes_of(harness)
        result = response["Ok"]
        if kind == "CreateEntity":
            created[position] = result["entity_id"]
            result = {"CreateEntity": {"entity_id": result["entity_id"]}}
        elif kind in ("Read", "Write"):
            (result,) = result
        else:
            result = {kind: result}
        results.append(result)
    return results, changes, None


def check(requests: list[dict[str, Any]], rules: int = LATEST_RULES) -> None:
    one, other = start(rules), start(rules)
    before = state(one)
    context = one.context()
    response = apply(one, context, {"StoreBulk": {"requests": requests}})
    results, changes, error = one_by_one(other, context, requests)
    if error is None:
        assert response == {"Ok": results}
        assert state(one) == state(other)
        assert changes_of(one) == changes
    else:
        assert response == {"Err": error}
        assert state(one) == before
        assert changes_of(one) == []
    # What comes later means the same, too: nothing of the command is left in an index or a cache.
    if error is not None:
        other = start(rules)
    context = ApplyContext(context.index + 1, context.time_us + 1, rules=context.rules)
    last = {"StoreBulk": {"requests": [create(START[0]), move(made(0), START[1])]}}
    assert apply(one, context, last) == apply(other, context, last)
    assert state(one) == state(other)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(lists(), st.integers(1, LATEST_RULES))
def test_a_bulk_equals_its_requests_one_after_the_other(
    requests: list[dict[str, Any]], rules: int
) -> None:
    check(requests, rules)


def test_a_part_of_a_failed_command_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transaction, "roll_back", Transaction.commit)
    with pytest.raises(AssertionError):
        check([create(), delete({"typ": "User", "id": 99})])
