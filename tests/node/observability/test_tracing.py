"""The trace of a real node records its clients' requests in the same form as the simulator."""

from __future__ import annotations

from io import StringIO

from qcore.analysis.course.node_tracks import node_at
from qcore.analysis.course.read_course import read_course
from qcore.analysis.tables import read_tables
from qcore.core.effects import AppendLog, StoreSnapshot, TruncateLog
from qcore.core.entry import Entry, Membership, Snapshot, SnapshotMeta
from qcore.errors import NotLeader, OutcomeUnknown, QcoreError, ResultInvalid
from qcore.node.observability.tracing import NodeTrace, first_trace_line
from qcore.replica.events import ClientRequest, Reply
from qcore.replica.messages import Forward, ForwardResponse, RequestKind
from qcore.runtime.real import REAL
from qcore.trace import parse_trace


def test_requests_and_outcomes_are_traced_as_operations() -> None:
    stream = StringIO()
    trace = NodeTrace(stream, 2, REAL.wall_us)
    cases: list[tuple[RequestKind, QcoreError | None, str, str, str]] = [
        ("write", None, "write", "ok", ""),
        ("session", OutcomeUnknown("?"), "write", "unknown", "OutcomeUnknown"),
        ("write", ResultInvalid("no text"), "write", "ok", "ResultInvalid"),
        ("stale_read", NotLeader(1), "read", "refused", "NotLeader"),
    ]
    for number, (kind, _, _, _, _) in enumerate(cases):
        trace.request_began(ClientRequest(number, kind, "secret" * 20, 1000), "")
    trace.request_began(ClientRequest(99, "read", "?", 1000), "")
    for number, (_, error, _, _, _) in enumerate(cases):
        result = "secret" if error is None else None
        trace.request_ended(Reply(number, result, 7, error))
    trace.request_ended(Reply(1234, "", 0, None))
    trace.flush()
    operations = read_tables(stream.getvalue().splitlines()).operations
    assert [(row.op, row.outcome, row.note) for row in operations] == [
        *((op, outcome, note) for _, _, op, outcome, note in cases),
        ("read", "open", ""),
    ]
    assert {row.client for row in operations} == {2}
    assert all((row.latency_us is not None) == (row.outcome == "ok") for row in operations)
    assert "secret" not in stream.getvalue()
    # The next process of the node counts from 0 again, and its operations are distinguished from the first.
    again = NodeTrace(stream, 2, REAL.wall_us)
    again.request_began(ClientRequest(0, "write", "x", 1000), "")
    again.flush()
    assert len(read_tables(stream.getvalue().splitlines()).operations) == len(operations) + 1


def test_the_log_of_a_node_is_traced_with_its_durability() -> None:
    stream = StringIO()
    times = iter(range(0, 10_000, 10))
    trace = NodeTrace(stream, 2, lambda: next(times))
    trace.step(1, [AppendLog(7, [_entry(6, 1), _entry(7, 1), _entry(8, 2)])])
    trace.step(1, [TruncateLog(8, 8), AppendLog(9, [_entry(8, 3)])])
    trace.durable(7)
    trace.durable(9)
    trace.durable(9)
    meta = SnapshotMeta(20, 4, 0, Membership())
    trace.step(1, [StoreSnapshot(10, Snapshot(meta, ""), compact_through=20, reset_log=True)])
    trace.flush()
    lines = stream.getvalue().splitlines()
    logs = [record.values for record in parse_trace(lines, details=True) if record.kind == "log"]
    assert logs == [
        ("append", 6, 1, 2),
        ("append", 8, 2, 1),
        ("cut", 8, 0, 0),
        ("append", 8, 3, 1),
        ("durable", 8, 0, 0),
        ("durable", 8, 0, 0),
        ("cut", 21, 0, 0),
        ("snapshot", 20, 4, 20),
    ]
    course = read_course([first_trace_line(2).decode(), *lines])
    assert course.has_details
    assert not course.is_simulated
    now = node_at(course, 2, course.end_us)
    assert (now.last, now.durable, now.log.snapshot_term) == (20, 8, 4)


def _entry(index: int, term: int) -> Entry:
    return Entry(index, term, "command", "x", 0)


def test_a_forwarded_request_is_traced_from_arrival_to_response() -> None:
    stream = StringIO()
    trace = NodeTrace(stream, 2, REAL.wall_us)
    for number in (3, 4):
        trace.request_began(ClientRequest(number, "write", "same", 1000), f"{number}")
    for ticket in (70, 71):
        trace.sent(1, f"m{ticket}", Forward(ticket, "write", "same", 900))
    trace.request_ended(Reply(4, "", 12, None))
    trace.sent(1, "m9", ForwardResponse(88, "", 5))
    trace.flush()
    records = list(parse_trace(stream.getvalue().splitlines(), details=True))
    operations = [record.fields["op_id"] for record in records if record.kind == "op"]
    first, second = operations[0], operations[1]
    found = [record.fields for record in records if record.kind == "request"]
    assert [(f["phase"], f["op_id"], f["request"], f["index"]) for f in found] == [
        ("take", first, 3, 0),
        ("take", second, 4, 0),
        ("forward", first, 70, 0),
        ("forward", second, 71, 0),
        ("end", second, 4, 12),
        ("answer", 0, 88, 5),
    ]
    assert [f["message"] for f in found] == ["", "", "2-m70", "2-m71", "", "1-m9r"]
