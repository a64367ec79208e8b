"""The session table at its edges: what a snapshot may hold, what is kept, and what is dropped."""

from __future__ import annotations

import pytest

from qcore.core.entry import Entry, EntryKind
from qcore.machines.register import RegisterMachine
from qcore.replica.sessions import session_table, session_text
from qcore.replica.sessions.client_session import Session
from qcore.replica.sessions.session_table import (
    SessionTable,
    close_session_payload,
    command_in,
    open_session_payload,
    session_command_payload,
)
from qcore.replica.sessions.session_text import read_table, table_text
from tests.replica.support.client_sessions import apply


def apply_to(table: SessionTable, index: int, data: str) -> session_table.ApplyOutcome:
    entry = Entry(index, 1, "session", data, index, index)
    return apply(table, entry, RegisterMachine(), rules=3)


@pytest.mark.parametrize(
    ("kind", "data", "command"),
    [
        ("command", "x", "x"),
        ("session", session_command_payload(7, 1, 0, "x"), "x"),
        ("session", open_session_payload(1000), None),
        ("session", "unreadable", None),
        ("noop", "", None),
    ],
)
def test_command_in_an_entry_is_found(kind: EntryKind, data: str, command: str | None) -> None:
    assert command_in(Entry(1, 1, kind, data, 0)) == command


def test_sessions_closed_early_leave_no_memory_behind() -> None:
    table = SessionTable()
    table.uses_cluster_clock = True
    apply_to(table, 1, open_session_payload(60_000))  # it expires first, and stays
    for index in range(2, 1000, 2):
        apply_to(table, index, open_session_payload(60_000))
        apply_to(table, index + 1, close_session_payload(index))
    assert len(table) == 1
    assert len(table._expiries) <= 70


def test_largest_session_stays_though_it_exceeds_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own bound ends it; dropping it would lose the reply that its client waits for."""
    monkeypatch.setattr(session_table, "MAX_REPLY_BYTES", 20)
    table = SessionTable()
    for index in (1, 2):
        apply_to(table, index, open_session_payload(60_000))
    apply_to(table, 3, session_command_payload(1, 1, 0, "read"))
    apply_to(table, 4, session_command_payload(2, 1, 0, "read"))
    assert [*table._sessions] == [2]


def test_reply_that_a_snapshot_holds_twice_is_forgotten() -> None:
    session = Session.restored(1000, 0, 0, [(1, ""), (1, ""), (2, "other")])
    session.acknowledge(1)
    assert session.replies == {2: "other"}
    assert session.characters == len("other")


@pytest.mark.parametrize("pair", ['["text",1]', "[1]", "true", "[-1,true]"])
def test_malformed_reply_of_the_old_form_is_refused(pair: str) -> None:
    with pytest.raises(ValueError, match="a reply in the session table is malformed"):
        list(read_table(f"[[1,1000,5,0,[{pair}]]]\n", lambda *_: None))


def test_no_part_of_a_table_is_empty() -> None:
    """Not even if a part is full exactly at the end."""
    start = len("".join(table_text([(1, Session.restored(1, 0, 0, [(1, "")]))], 3)))
    text = "x" * (session_text.PART_CHARS - start)
    parts = list(table_text([(1, Session.restored(1, 0, 0, [(1, text)]))], 3))
    assert [len(part) for part in parts] == [session_text.PART_CHARS]


def test_many_sessions_without_replies_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_text, "PART_CHARS", 100)
    rows = [(number, Session(1000, 5)) for number in range(100)]
    text = "".join(table_text(rows, 3))
    found: dict[int, Session] = {}
    pauses = sum(1 for _ in read_table(text, found.__setitem__))
    assert found == dict(rows)
    assert pauses >= len(text) // 120
