"""How the messages of built-in clients and watchers become those of the wire protocol, and back."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from qcore.errors import NotLeader, StoreError, to_wire
from qcore.replica.messages import RequestKind
from qcore.replica.sessions.session_table import open_session_payload, session_command_payload
from qcore.sim.workload.operations import ClientOperation
from qcore.sim.workload.sim_client import ResponseMessage
from qcore.sim.workload.watcher_messages import WatchNotice
from qcore.sim.world.whole.wire_client import message_of, take_content
from qcore.sim.world.whole.wire_watcher import notice_of, registration


def operation(kind: RequestKind, payload: str) -> ClientOperation:
    op = ClientOperation(1, 1, "write", "k0", 1, None, 0, 1000)
    op.request, op.payload = kind, payload
    return op


@pytest.mark.parametrize(
    ("kind", "consistency"),
    [
        ("read", "linearizable"),
        ("lease_read", "lease"),
        ("follower_read", "follower"),
        ("stale_read", {"stale": 70}),
    ],
)
def test_each_kind_of_read_has_its_consistency(kind: RequestKind, consistency: JsonValue) -> None:
    name, fields = message_of(operation(kind, "query"), 70)
    assert (name, fields) == (
        "Perform",
        {"request": {"Read": "query"}, "consistency": consistency},
    )


def test_a_command_of_a_session_names_the_session() -> None:
    payload = session_command_payload(7, 3, 2, "command")
    _, fields = message_of(operation("session", payload), 0)
    assert fields["request"] == {"Write": "command"}
    assert fields["session"] == {"id": 7, "sequence": 3, "acknowledged": 2}
    opened = message_of(operation("session", open_session_payload(900)), 0)
    assert opened == ("OpenSession", {"lifetime_ms": 900})


def test_an_error_of_a_response_keeps_its_class_and_fields() -> None:
    text, detail = to_wire(NotLeader(3))
    response = ResponseMessage(operation("write", "x"), 1)
    body = {"response": None, "error": text, "detail": detail}
    take_content(response, {"response": {"Write": body}})
    assert isinstance(response.error, NotLeader)
    assert response.error.leader_id == 3
    text, detail = to_wire(StoreError("no"))
    response = ResponseMessage(operation("session", "x"), 1)
    take_content(response, {"response": {"Err": text}, "detail": detail})
    assert isinstance(response.error, StoreError)
    response = ResponseMessage(operation("session", "x"), 1)
    take_content(response, {"response": {"Ok": 5}})
    assert (response.result, response.error) == ("5", None)


def test_a_watch_begins_with_the_message_of_its_machine() -> None:
    assert registration("k1") == ("WatchChanges", {"topic": "k1"})
    config = '{"EntityType":{"entity_type":"T"}}'
    name, fields = registration(config)
    assert (name, fields) == (
        "StoreRegisterNotification",
        {"config": {"EntityType": {"entity_type": "T"}}},
    )


def test_a_notice_has_the_text_that_the_machine_wrote() -> None:
    change = {"change": {"key": "k", "value": "ä"}, "index": 4, "sequence": 1, "token": "t"}
    expected = WatchNotice((4, 1), '{"key":"k","value":"ä"}')
    assert notice_of("ChangeNotification", change) == expected
    body = {"field_type": "F", "index": 4, "sequence": 1, "token": "t"}
    stored = notice_of("StoreNotification", {"notification": body})
    assert stored == WatchNotice((4, 1), '{"field_type":"F"}')
