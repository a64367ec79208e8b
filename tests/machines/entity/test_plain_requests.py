"""The short way of a plain read or write of one field does what the general way does.

A blank after the text of a request leads it the general way: its meaning is the same, but a node does not write it so.
"""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from qcore.machines.entity import plain_requests
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.requests.perform_requests import parse_request
from qcore.machines.interface import ApplyContext
from qcore.machines.limits import MAX_VALUE_BYTES
from qcore.store_api.message_table import STORE_MESSAGES
from qcore.store_api.store_messages import StorePerform

Json = dict[str, Any]

#: The place of an error in a text, which the blank at its end moves.
_COLUMN = re.compile("column [0-9]+")
#: The type of the entities, and fields of all kinds, each with a value.
ITEM = "Größe"
FIELDS: dict[str, tuple[str, object, object]] = {
    "Name": ("String", "", "a name"),
    "Text": ("String", "", "held"),
    "Maß": ("Int", 0, 7),
    "Ratio": ("Float", 0.5, 1.25),
    "Flag": ("Bool", False, True),
    "Link": ("EntityReference", None, {"typ": ITEM, "id": 2}),
    "Links": ("EntityList", [], [{"typ": ITEM, "id": 2}]),
    "Bytes": ("Blob", [], [1, 2]),
    "Since": ("Timestamp", None, {"secs_since_epoch": 3, "nanos_since_epoch": 4}),
    "Pick": ("Choice", 0, 1),
    "Un\u0001usual": ("String", "", "held"),
    "Unwritten": ("String", "", None),
}


def schema() -> Json:
    fields = {}
    for name, (kind, default, value) in FIELDS.items():
        body: Json = {
            "field_type": name,
            "default_value": value if default is None and kind == "Timestamp" else default,
            "rank": 0,
            "read_permission": None,
            "write_permission": None,
        }
        if kind == "Choice":
            body["choices"] = ["one", "two"]
        fields[name] = {kind: body}
    return {
        "SetSchema": {"entity_schema": {"entity_type": ITEM, "inherit": None, "fields": fields}}
    }


class TwoStores:
    """Two stores with the same entities: one may take the short way, the other never does."""

    def __init__(self) -> None:
        self.stores = EntityStore(), EntityStore()
        self.index = 0
        self.both(schema())
        for name in ("first", "second"):
            self.both({"CreateEntity": {"entity_type": ITEM, "parent_id": None, "name": name}})
        for name, (kind, _, value) in FIELDS.items():
            if value is not None:
                self.both(request("Write", name, {kind: value}))

    def both(self, body: Json, *, index: int | None = None) -> None:
        """Apply the command to both, as a node writes it and in another spelling, and compare."""
        self.text(to_json(body).decode(), index=index)

    def text(self, command: str, *, index: int | None = None) -> None:
        """As `both`, for a text."""
        self.index = self.index + 1 if index is None else index
        results = []
        for store, text in zip(self.stores, (command, command + " "), strict=True):
            result = store.apply(text, ApplyContext(self.index, 1_000_000 * self.index))
            changes = [(change.topics, change.body, change.size_bytes) for change in store.changes]
            results.append((_COLUMN.sub("", result), store.last_cost, store.state_bytes, changes))
        assert results[0] == results[1]
        hashes = [store.state_hash() for store in self.stores]
        assert hashes[0] == hashes[1]

    def query(self, query: str) -> None:
        """Compare the answers to a query."""
        answers = []
        for store, text in zip(self.stores, (query, query + " "), strict=True):
            try:
                answers.append(store.query(text))
            except Exception as error:  # noqa: BLE001 - both must give the same
                answers.append(_COLUMN.sub("", f"{type(error).__name__}: {error}"))
        assert answers[0] == answers[1]

    def end(self) -> None:
        """Compare the whole states, also after a restore."""
        snapshots = ["".join(store.snapshot()) for store in self.stores]
        assert snapshots[0] == snapshots[1]
        restored = EntityStore()
        restored.restore([snapshots[0]])
        assert restored.state_hash() == self.stores[1].state_hash()


def request(
    kind: str, name: str, value: object = None, number: int = 2, typ: str = ITEM, **options: object
) -> Json:
    """One read or write."""
    body: Json = {"entity_id": {"typ": typ, "id": number}, "field_type": name, "value": value}
    if kind == "Write":
        body |= {"push_condition": "Always", "adjust_behavior": "Set"}
    return update([{kind: {**body, "write_time": None, "writer_id": None, **options}}])


def update(items: list[Json]) -> Json:
    return {"UpdateEntity": {"request": items}}


def in_store_form(body: Json) -> Json:
    """The same reads and writes as `StorePerform`."""
    return {"StorePerform": {"requests": body["UpdateEntity"]["request"]}}


def _joined(one: Json, other: Json) -> Json:
    return update([*one["UpdateEntity"]["request"], *other["UpdateEntity"]["request"]])


TEXTS = st.one_of(
    st.text(max_size=12), st.sampled_from(["", "v" * 60, "ä" * 90, "v" * 300, '"\\', "\x7f\xa0"])
)
VALUES = st.one_of(
    st.builds(lambda text: {"String": text}, TEXTS),
    st.builds(lambda number: {"Int": number}, st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda number: {"Int": number}, st.integers(-20, 20)),
    st.builds(lambda number: {"Float": number}, st.floats(allow_nan=False, allow_infinity=False)),
    st.builds(lambda number: {"Float": number / 8}, st.integers(-99, 99)),
    st.builds(lambda flag: {"Bool": flag}, st.booleans()),
    st.sampled_from(
        [
            None,
            {"Choice": 0},
            {"Choice": 2},
            {"EntityReference": None},
            {"EntityReference": {"typ": ITEM, "id": 3}},
            {"EntityList": []},
            {"Blob": [1]},
            {"Timestamp": {"secs_since_epoch": 1, "nanos_since_epoch": 2}},
        ]
    ),
)
OPTIONS = st.one_of(
    st.just({}),
    st.sampled_from(
        [
            {"push_condition": "Changes"},
            {"adjust_behavior": "Add"},
            {"adjust_behavior": "Subtract"},
            {"write_time": {"secs_since_epoch": 1, "nanos_since_epoch": 0}},
            {"writer_id": {"typ": ITEM, "id": 3}},
        ]
    ),
)
NUMBERS = st.sampled_from([2, 2, 2, 3, 4, 2**63])
NAMES = st.sampled_from([*FIELDS, "Text", "Text", "Missing", "Link->Text", "Children"])
TYPES = st.sampled_from([ITEM, ITEM, ITEM, "Other"])
WRITES = st.builds(
    lambda name, value, number, typ, options: request("Write", name, value, number, typ, **options),
    *(NAMES, VALUES, NUMBERS, TYPES, OPTIONS),
)
READS = st.builds(
    lambda name, number, typ: request("Read", name, None, number, typ), NAMES, NUMBERS, TYPES
)
OTHERS = st.sampled_from(
    [
        {"DeleteEntity": {"entity_id": {"typ": ITEM, "id": 3}}},
        {"CreateEntity": {"entity_type": ITEM, "parent_id": None, "name": "one more"}},
        schema(),
    ]
)
BODIES = st.one_of(
    WRITES,
    WRITES,
    READS,
    st.builds(
        lambda one, other: update(
            one["UpdateEntity"]["request"] + other["UpdateEntity"]["request"]
        ),
        WRITES,
        READS,
    ),
)
COMMANDS = st.one_of(BODIES, BODIES, st.builds(in_store_form, BODIES), OTHERS)


@given(st.lists(st.tuples(COMMANDS, st.booleans()), max_size=25))
def test_both_ways_give_the_same(steps: list[tuple[Json, bool]]) -> None:
    stores = TwoStores()
    for body, is_query in steps:
        if is_query:
            stores.query(to_json(body).decode())
        else:
            stores.both(body)
    stores.end()


@given(st.data(), READS | WRITES, st.booleans())
def test_texts_that_no_node_writes_mean_the_same(
    data: st.DataObject, body: Json, store_form: bool
) -> None:
    stores = TwoStores()
    text = to_json(in_store_form(body) if store_form else body).decode()
    at = data.draw(st.integers(0, len(text)))
    piece = data.draw(
        st.sampled_from(
            ["", " ", "0", '"', "\\", "\\u0041", "\x00", "-", ".5", "e1", "}", "{", "é", "\ud800"]
        )
    )
    length = data.draw(st.integers(0, 3))
    changed = text[:at] + piece + text[at + length :]
    stores.text(changed)
    stores.query(changed)
    stores.both(request("Read", "Text"))
    stores.end()


def test_the_largest_value_is_accepted_and_one_more_byte_is_not() -> None:
    stores = TwoStores()
    around = len('{"String":""}')
    for more in (-1, 0, 1):
        stores.both(request("Write", "Text", {"String": "v" * (MAX_VALUE_BYTES - around + more)}))
        stores.query(to_json(request("Read", "Text")).decode())
    stores.end()


def test_at_the_time_of_the_creation_a_default_is_not_kept() -> None:
    stores = TwoStores()
    stores.both(request("Write", "Text", {"String": ""}), index=2)
    stores.both(request("Write", "Text", {"String": "again"}), index=2)
    stores.end()


def test_plain_requests_take_the_short_way() -> None:
    """Otherwise the tests above would compare the general way with itself."""
    stores = TwoStores()
    records = stores.stores[0]._records
    for name in ("Text", "Maß", "Ratio", "Flag"):
        kind, _, value = FIELDS[name]
        for form in (request, lambda *fields: in_store_form(request(*fields))):
            write = to_json(form("Write", name, {kind: value})).decode()
            assert plain_requests.write_field(records, write, 5) is not None
            assert plain_requests.write_field(records, write + " ", 5) is None
            read = to_json(form("Read", name)).decode()
            answer = plain_requests.read_field(records, read)
            assert answer is not None
            json.loads(answer)
            assert plain_requests.read_field(records, read + " ") is None


@given(BODIES)
def test_a_node_writes_the_text_that_a_writer_of_json_does(body: Json) -> None:
    text = to_json(body).decode()
    assert parse_request(text)[1] == text
    items = body["UpdateEntity"]["request"]
    kind, payload = STORE_MESSAGES["StorePerform"].payload(StorePerform("1", items))
    assert payload == to_json({"StorePerform": {"requests": items}}).decode()
    assert kind == parse_request(text)[0]
