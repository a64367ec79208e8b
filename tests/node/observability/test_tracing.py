"""The trace of a real node records its clients' requests in the same form as the simulator."""

from __future__ import annotations

from io import StringIO

from qcore.analysis.tables import read_tables
from qcore.errors import NotLeader, OutcomeUnknown, QcoreError, ResultInvalid
from qcore.node.observability.tracing import NodeTrace
from qcore.replica.events import ClientRequest, Reply
from qcore.replica.messages import RequestKind
from qcore.runtime.real import REAL


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
