"""docs/wire.schema.json, docs/reference/messages.md and docs/migration.md say what the messages are."""

from __future__ import annotations

import json
import re
from functools import cache

import pytest
from jsonschema import Draft202012Validator

from qcore.node.access.message_needs import MESSAGE_NEEDS
from qcore.store_api.message_table import STORE_MESSAGES
from qcore.store_api.watch_responses import NOTIFICATIONS
from qcore.transport.codec.codec import Codec, Malformed
from qcore.transport.wire import PEER_RESPONSES
from tests.checkout import DOCS
from tests.docs.wire_reference import PAGE, SCHEMA, page, registry, schema_text, sections
from tests.transport.support.wire_examples import blocks

MIGRATION = DOCS / "migration.md"
PROTOCOL = DOCS / "reference" / "wire.md"
ENDPOINTS = (
    "POST /init",
    "POST /add-learner",
    "POST /change-membership",
    "GET /metrics",
    "POST /api/perform",
    "POST /raft/vote",
    "POST /raft/append",
    "POST /raft/snapshot",
)


@cache
def validator() -> Draft202012Validator:
    document = json.loads(SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


@cache
def codec() -> Codec:
    # A node sends notifications and does not accept them.
    return Codec({name: cls for name, cls in registry().items() if name not in NOTIFICATIONS})


@pytest.mark.pure_only("pydantic names the parts of a schema after its kinds of classes")
def test_both_are_what_the_messages_give() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), "run make fix"
    assert PAGE.read_text(encoding="utf-8") == page(), "run make fix"


def test_the_page_has_every_request() -> None:
    shown = {name for section in sections() for name in section.names}
    requests = {name for name in registry() if not name.endswith("Response")} - {"Error"}
    short = {
        name
        for name, entry in STORE_MESSAGES.items()
        if entry.cls.__module__.endswith("short_spelling")
    } | {name for name in requests if f"Store{name}" in requests and name != "Perform"}
    assert shown == requests - short
    assert not {cls.__name__ for cls in PEER_RESPONSES} & shown


def test_the_examples_of_the_protocol_fit_the_schema() -> None:
    checked = 0
    for block in blocks():
        if block.kind != "send" or "<" in block.text or block.language == "text":
            continue
        frame = json.loads(block.text)
        understood = not any(
            isinstance(each, Malformed) for each in codec().decode(block.text.encode())
        )
        assert validator().is_valid(frame) == understood, f"wire.md:{block.line}"
        checked += 1
    assert checked > 20


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"Nothing": {"id": "1"}},
        {"GetMetrics": {"id": "1"}, "Init": {"id": "1", "nodes": []}},
        {"GetMetrics": {"id": 1}},
        {"GetMetrics": {"id": "1", "more": 1}},
        {"StoreEntityExists": {"id": "1", "entity_id": {"typ": "User", "id": -1}}},
        {
            "StoreFindEntities": {
                "id": "1",
                "entity_type": "User",
                "page_opts": {"limit": 0, "cursor": None},
            }
        },
        {"StorePerform": {"id": "1", "requests": [{"Read": {}}]}},
        {"StorePerform": {"id": "1", "requests": [{}]}},
        {"StoreBulk": {"id": "1", "requests": [{"CreateEntity": {"entity_type": "User"}}]}},
        {"RegisterNotification": {"id": "1", "config": {}}},
        {"RegisterNotification": {"id": "1", "config": {"EntityId": {}}}},
        {"WatchChanges": {"id": "1", "topic": "k", "after": [1, -2]}},
        {"WatchChanges": {"id": "1", "topic": "k", "after": [1]}},
        {"UnwatchChanges": {"id": "1"}},
        {"StoreNotification": {"id": "1", "notification": {}}},
        [],
    ],
)
def test_codec_and_schema_reject_the_same(frame: object) -> None:
    assert not validator().is_valid(frame)
    assert any(isinstance(each, Malformed) for each in codec().decode(json.dumps(frame).encode()))


def test_the_protocol_says_what_each_message_needs() -> None:
    _, _, rest = PROTOCOL.read_text(encoding="utf-8").partition("| messages | need |\n|---|---|\n")
    table = rest.partition("\n\n")[0]
    found: dict[str, str] = {}
    for row in table.splitlines():
        messages, need = row.strip("| ").split(" | ")
        for name in re.findall(r"`(\w+)`", messages) or [messages]:
            assert name not in found, f"{name} is in two rows"
            found[name] = need
    others = found.pop("all others")
    assert others.startswith("a user")
    assert found.keys() <= MESSAGE_NEEDS.keys()
    texts = {"nothing": "nothing", "everything": "the role `admin`"}
    for name, need in MESSAGE_NEEDS.items():
        shown = found.get(name, others)
        if need == "user":
            assert "user" in shown, name
        else:
            assert shown.split(";")[0] == texts.get(need, f"`{need}`"), name


def test_the_migration_guide_has_every_endpoint() -> None:
    text = MIGRATION.read_text(encoding="utf-8")
    for endpoint in ENDPOINTS:
        assert f"| `{endpoint}` |" in text, endpoint
    messages = re.findall(r'`(\{"[A-Z]\w+": \{"id": .*?\})` \|', text)
    assert len(messages) > 10
    for message in messages:
        envelope = json.loads(message)
        if not {"Ok", "GetMetricsResponse", "PerformResponse"} & envelope.keys():
            assert validator().is_valid(envelope), message
