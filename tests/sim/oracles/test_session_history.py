"""Commands in sessions: the history and the model see each once, with the command itself, at its first entry."""

from __future__ import annotations

from qcore.core.entry import Entry
from qcore.replica.sessions.session_table import open_session_payload, session_command_payload
from qcore.sim.oracles.model.model_operation import operations_of
from qcore.sim.oracles.request_record import records_of
from qcore.sim.workload.operations import ClientOperation, Outcome


def operation(
    payload: str, outcome: Outcome | None, *, index: int = 0, op_id: int = 1, session: bool = True
) -> ClientOperation:
    op = ClientOperation(1, op_id, "write", "", payload, None, op_id * 10, 1000)
    op.is_raw, op.payload, op.request = True, payload, "session" if session else "write"
    op.outcome, op.index, op.return_us = outcome, index, op_id * 10 + 5
    op.answer = "done" if outcome == "ok" else None
    return op


def command(sequence: int, text: str) -> str:
    return session_command_payload(7, sequence, 0, text)


def entry(index: int, data: str) -> Entry:
    return Entry(index, 1, "session", data, 0)


def test_a_session_command_is_one_write_with_its_text() -> None:
    repeated = operation(command(1, "add 1"), "ok", index=9)
    history = [operation(open_session_payload(60_000), "ok", index=3, op_id=0), repeated]
    (record,) = records_of(history)
    assert (record.kind, record.text, record.answer, record.index) == ("write", "add 1", "done", 9)


def test_a_repeated_command_has_the_place_of_its_first_entry() -> None:
    """The client repeated it, so it is in the log twice; the machine executed the first one."""
    op = operation(command(1, "add 1"), "ok", index=9)
    entries = {5: entry(5, op.payload), 9: entry(9, op.payload)}
    (judged,) = operations_of([op], {5: entries[5]}, stale_reads=False)
    assert (judged.place, judged.request, judged.answer) == (5, ("write", "add 1"), "done")


def test_an_entry_that_no_machine_executed_is_no_effect() -> None:
    """The session had expired when the entry was applied, and the client did not learn that."""
    op = operation(command(2, "add 1"), "unknown")
    (judged,) = operations_of([op], {}, stale_reads=False)
    assert (judged.place, judged.return_us) == (0, None)


def test_of_equal_writes_the_first_takes_the_first_entry() -> None:
    writes = [operation("add 1", "unknown", op_id=n, session=False) for n in (3, 1, 2)]
    writes.append(operation("add 1", "ok", index=4, op_id=4, session=False))
    executed = {index: Entry(index, 1, "command", "add 1", 0) for index in (4, 6, 8)}
    places = {op.op_id: op.place for op in operations_of(writes, executed, stale_reads=False)}
    assert places == {1: 6, 2: 8, 3: 0, 4: 4}


def test_a_cancelled_write_takes_the_session_entry_left() -> None:
    """A program was cancelled at the end of the run: its write names no session, and the log has it in one."""
    answered = operation(command(1, "add 1"), "ok", index=5, op_id=1)
    cancelled = operation("add 1", "unknown", op_id=2, session=False)
    executed = {5: entry(5, answered.payload), 6: entry(6, command(2, "add 1"))}
    judged = operations_of([answered, cancelled], executed, stale_reads=False)
    assert [op.place for op in judged] == [5, 6]


def test_what_shows_nothing_is_left_out() -> None:
    read = operation("get", "unknown", session=False)
    read.request, read.kind = "read", "read"
    refused = operation("add 1", "refused", session=False)
    assert operations_of([read, refused], {}, stale_reads=False) == []
