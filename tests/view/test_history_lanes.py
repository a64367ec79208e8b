"""The judged history of a page: which operations belong to it, and why some cannot come next."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from qcore.analysis.course.course_types import Course
from qcore.analysis.course.read_course import read_course
from qcore.client.programs.program_context import ProgramContext
from qcore.sim import parse_scenario, run_scenario
from qcore.sim.linearizability import Operation, check_history
from qcore.trace import DETAIL_FIELDS, CompactTrace, TraceRecord
from qcore.trace.trace_origin import TraceOrigin
from qcore.view import history_lanes
from qcore.view.history_lanes import History, judged_history, reasons


def op(
    t_us: int,
    phase: str,
    op_id: int,
    kind: str,
    value: int | str | None = None,
    note: str = "",
    *,
    key: str = "k",
    client: int = 1,
) -> TraceRecord:
    fields = {"phase": phase, "client": client, "op_id": op_id, "op": kind, "key": key}
    return TraceRecord(t_us, "op", 1, fields | {"value": value, "note": note})


def history_of(records: Iterable[TraceRecord], nodes: Sequence[int] = (1, 2, 3)) -> History:
    header = {"schema": 1, "name": "made", "seed": 1, "nodes": list(nodes)}
    return judged_history(read_course([TraceRecord(0, "run", 0, header), *records]))


WRITTEN = (op(1, "invoke", 1, "write", 5), op(2, "ok", 1, "write", 5))


def test_the_history_of_a_correct_run(course: Course) -> None:
    history = judged_history(course)
    assert [row["key"] for row in history.keys] == ["k0", "k1", "k2"]
    assert {row["result"] for row in history.keys} == {"ok"}
    assert history.content == history.keys
    operations = course.operations
    stale = {
        (record.values[1], record.values[2])
        for record in course.records
        if record.kind == "op" and record.values[6].startswith("stale,")
    }
    assert len(stale) > 10
    for number, row in enumerate(operations):
        belongs = row.outcome != "refused" and (row.client, row.op_id) not in stale
        assert (number in history.judged) == belongs


def test_a_read_of_an_old_value() -> None:
    (row,) = history_of(
        [
            *WRITTEN,
            op(3, "invoke", 2, "write", 6),
            op(4, "ok", 2, "write", 6),
            op(1005, "invoke", 1, "read", client=2),
            op(1006, "ok", 1, "read", 5, client=2),
        ]
    ).keys
    assert row["result"] == "violation"
    assert (row["count"], row["order"], row["stuck"]) == (3, [0, 1], [2])
    assert row["why"] == [
        "It read 5, but after the 2 placed operations, the key holds 6. write 2 of client 1 replaced 5 at place 2, "
        "and had ended 1.001 ms before this one began."
    ]
    assert "no order of the operations" in str(row["explanation"])


def test_all_keys_share_the_limit_of_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [
        op(t_us, phase, ord(key), "write", client % 2, key=key, client=client)
        for key in ("a", "b")
        for t_us, phase in ((1, "invoke"), (100, "ok"))
        for client in range(1, 9)
    ]
    records += (
        op(
            t_us,
            phase,
            number,
            "read",
            number % 2 if phase == "ok" else None,
            key=key,
            client=ord(key),
        )
        for number, t_us in enumerate(range(2, 80, 8), 1)
        for key in ("a", "b")
        for phase in ("invoke", "ok")
    )
    monkeypatch.setattr(history_lanes, "BUDGET", 3)
    rows = history_of(sorted(records, key=lambda record: record.t_us)).keys
    assert [row["result"] for row in rows] == ["unknown", "unknown"]
    assert "placements of the 18 operations on this key, its limit on a page" in str(
        rows[0]["explanation"]
    )


def test_a_refused_operation_is_not_judged() -> None:
    """It certainly had no effect: as a part of the history, it could explain a value that no write put there."""
    refused = (op(3, "invoke", 2, "write", 6), op(4, "refused", 2, "write", 6, "NotLeader"))
    read = (op(5, "invoke", 3, "read"), op(6, "ok", 3, "read", 6))
    history = history_of([*WRITTEN, *refused, *read])
    (row,) = history.keys
    assert history.judged == {0, 2}
    assert row["result"] == "violation"
    assert row["why"] == [
        "It read 6, but after the 1 placed operations, the key holds 5. No operation wrote 6."
    ]


def test_an_unknown_write_may_explain_a_read() -> None:
    unknown = (op(3, "invoke", 2, "write", 6), op(4, "unknown", 2, "write", 6, "OutcomeUnknown"))
    read = (op(5, "invoke", 3, "read"), op(6, "ok", 3, "read", 6))
    (row,) = history_of([*WRITTEN, *unknown, *read]).keys
    assert row["result"] == "ok"


def test_a_stale_read_is_not_judged() -> None:
    read = (op(5, "invoke", 2, "read", note="stale, up to 500 ms"), op(6, "ok", 2, "read", None))
    history = history_of([*WRITTEN, *read])
    assert history.judged == {0}
    assert [row["result"] for row in history.keys] == ["ok"]


def test_a_stale_read_of_a_client_program_is_not_judged() -> None:
    """Its record has no note; a detail says it."""
    read = (op(5, "invoke", 2, "read"), op(6, "ok", 2, "read", None))
    fields = dict.fromkeys(DETAIL_FIELDS["request"], 0) | {"phase": "stale", "client": 1}
    detail = TraceRecord(5, "request", 0, fields | {"op_id": 2, "message": ""})
    assert history_of([*WRITTEN, *read]).judged == {0, 1}
    assert history_of([*WRITTEN, detail, *read]).judged == {0}


async def write_and_read(ctx: ProgramContext) -> None:
    """Writes, and reads what may be old."""
    for number in range(4):
        text = json.dumps({"op": "set", "key": "k", "value": f"{ctx.number}-{number}"})
        await ctx.client.execute(text)
        await ctx.client.execute('{"op":"get","key":"k"}', read=True, consistency={"stale": 5000})
        await ctx.client.execute('{"op":"get","key":"k"}', read=True)


def test_the_simulator_says_which_reads_of_programs_may_be_stale() -> None:
    stream = io.BytesIO()
    scenario = parse_scenario("workload: {clients: 1}\nuntil_ms: 2500\n")
    run_scenario(scenario, 1, program=write_and_read, trace=stream)
    course = read_course(CompactTrace(stream.getvalue()))
    reads = [n for n, row in enumerate(course.operations) if row.op == "read"]
    assert len(reads) == 8
    judged = judged_history(course).judged
    assert [number in judged for number in reads] == [False, True] * 4


@pytest.mark.parametrize(
    ("expects", "result"), [("5", "ok"), ("None", "violation"), ("7", "violation")]
)
def test_what_a_cas_expected_is_in_its_note(expects: str, result: str) -> None:
    swap = (op(3, "invoke", 2, "cas", 6, f"expects {expects}"), op(4, "ok", 2, "cas", 6))
    (row,) = history_of([*WRITTEN, *swap]).keys
    assert row["result"] == result


def test_a_cas_that_did_not_match() -> None:
    swap = (op(3, "invoke", 2, "cas", 6, "expects 5"), op(4, "ok", 2, "cas", 6, "did not match"))
    (row,) = history_of([*WRITTEN, *swap]).keys
    assert row["result"] == "violation"
    assert row["why"] == [
        "It found another value than 5, but after the 1 placed operations, the key holds 5."
    ]


def test_requests_to_another_machine_are_not_judged() -> None:
    history = history_of([op(1, "invoke", 1, "write", '{"op":"push"}', key="")])
    assert "no operation of the trace is on a register" in str(history.content)


def test_a_key_with_other_requests_is_not_judged() -> None:
    push = (op(3, "invoke", 2, "write", '{"op":"push"}', key="list"),)
    read = (op(4, "invoke", 3, "read", key="list"), op(5, "ok", 3, "read", 9, key="list"))
    assert [row["key"] for row in history_of([*WRITTEN, *push, *read]).keys] == ["k"]


def test_no_history_without_operations_or_values() -> None:
    assert history_of([]).absent == "the trace has no operations of clients"
    header = TraceRecord(0, "run", 0, {"schema": 1, "name": "node 1", "seed": 0, "nodes": [1]})
    real = judged_history(read_course([header, *WRITTEN]))
    assert real.absent == "the trace of a real node has no keys and values"


def test_a_scenario_with_a_weaker_level(course: Course) -> None:
    """What is not linearizable there is no violation."""
    changed = [
        TraceRecord(r.t_us, r.kind, r.node, r.fields | {"value": None})
        if r.kind == "op" and r.values[0] == "ok" and r.values[3] == "read"
        else r
        for r in course.records
    ]
    wrong = read_course(changed)
    assert "violation" in {row["result"] for row in judged_history(wrong).keys}
    origin = TraceOrigin("expect:\n  consistency: sequential\n", "", 1, "0.2.0")
    history = judged_history(replace(wrong, origin=origin))
    assert history.level == "sequential"
    assert "violation" not in {row["result"] for row in history.keys}
    assert any("only for the level sequential" in str(row["explanation"]) for row in history.keys)


def operation(
    kind: str, given: object, output: object, start: int, end: int | None, op_id: int
) -> Operation:
    return Operation(1, op_id, "k", kind, given, output, start, end)  # type: ignore[arg-type]  # short tests


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        (
            [("write", 1, None, 10, 20), ("read", None, 1, 3, 5)],
            "write 1 of client 1 wrote it, but began 0.005 ms after this one had ended.",
        ),
        (
            [("write", 1, None, 0, 1), ("write", 2, None, 2, 3), ("read", None, None, 4, 5)],
            "write 1 of client 1 replaced no value at place 1, and had ended 0.003 ms before this one began.",
        ),
        (
            [("cas", (4, 1), True, 0, 1)],
            "It replaced 4, but the key holds no value at the beginning. No operation wrote 4.",
        ),
        (
            [
                ("write", 1, None, 0, 9),
                ("read", None, 1, 2, 3),
                ("read", None, None, 5, 6),
                ("read", None, 1, 7, 8),
            ],
            "write 1 of client 1 replaced no value at place 1.",
        ),
    ],
)
def test_reasons(
    operations: list[tuple[str, object, object, int, int | None]], expected: str
) -> None:
    history = [operation(*each, number) for number, each in enumerate(operations, 1)]
    verdict = check_history(history)
    assert verdict.result == "violation"
    found = reasons(verdict.prefix, verdict.stuck, history)
    assert len(found) == len(verdict.stuck)
    assert any(text.endswith(expected) for text in found), found


def test_an_operation_that_fits_but_blocks_another() -> None:
    """Two clients overwrite one value; each then reads its own again."""
    history = [
        operation("write", 1, None, 0, 10, 1),
        operation("write", 2, None, 0, 10, 2),
        operation("read", None, 1, 11, 12, 3),
        operation("read", None, 2, 13, 14, 4),
        operation("read", None, 1, 15, 16, 5),
    ]
    verdict = check_history(history)
    found = reasons(verdict.prefix, verdict.stuck, history)
    assert len(found) == len(verdict.stuck) > 0
    assert all(text.endswith(".") for text in found)
