"""Operations of the timeline with an expected outcome, and reads of several kinds."""

from __future__ import annotations

import pytest

from qcore.errors import ConfigError
from qcore.sim import RunResult, World
from qcore.trace import TraceWriter
from tests.sim.support.scenario_texts import failures, run, scenario

SILENT = "{clients: 0}"
WRITE = "{at_ms: 1000, write: {node: leader, key: x, value: 5}}"


def judged(line: str) -> tuple[bool, str]:
    """Whether the expectation of the last line holds, and what it saw."""
    result: RunResult = run(f"[{WRITE}, {line}]", workload=SILENT)
    expectation = [e for e in result.expectations if e.name.startswith("timeline[")][-1]
    assert result.ok == expectation.ok, failures(result)
    return expectation.ok, expectation.seen


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ("read: {node: follower_1, key: x, expect: 5}", True),
        ("read: {node: follower_1, key: x, expect: 6}", False),
        ("read: {node: follower_1, key: x, expect: '5'}", False),
        ("read: {node: follower_1, key: x, expect: 5.0}", True),
        ("read: {node: follower_1, key: x, expect: true}", False),
        ("read: {node: follower_1, key: x, expect: null}", False),
        ("read: {node: follower_1, key: y, expect: null}", True),
        ("read: {node: all, key: x, read_kind: follower_read, expect: 5, outcome: ok}", True),
        ("read: {node: leader, key: x, outcome: [refused, ok]}", True),
        ("read: {node: leader, key: x, outcome: TooStale}", False),
        ("write: {node: leader, key: x, value: 7, outcome: ok}", True),
        ("write: {node: leader, key: x, value: 7, outcome: unknown}", False),
    ],
)
def test_an_operation_is_judged_by_what_its_client_saw(line: str, holds: bool) -> None:
    assert judged(f"{{at_ms: 1500, {line}}}")[0] is holds


def test_the_result_names_the_operation_and_the_value() -> None:
    _, seen = judged("{at_ms: 1500, read: {node: 2, key: x, expect: 6}}")
    assert seen == "read of x at node 2: found 5"
    _, seen = judged(
        "{at_ms: 1500, read: {node: 2, key: x, read_kind: stale_read, max_staleness_ms: 0, expect: 5}}"
    )
    assert seen == "stale_read of x at node 2: refused (TooStale)"


def test_an_operation_without_a_response_by_the_end_fails() -> None:
    ok, seen = judged("{at_ms: 2990, read: {node: 2, key: x, read_kind: read, outcome: ok}}")
    if not ok:
        assert "no outcome yet" in seen
    lost = "{at_ms: 1500, do: [{isolate: leader}, {read: {node: leader, key: x, expect: 5}}]}"
    ok, seen = judged(lost)
    assert not ok
    assert "refused" in seen or "unknown" in seen


@pytest.mark.parametrize("outcome", ["unknown", "timeout", "connection lost"])
def test_an_outcome_may_be_expected_in_general_or_by_reason(outcome: str) -> None:
    crash = outcome == "connection lost"
    line = "crash: leader" if crash else "do: [{isolate: leader}, {pause: leader}]"
    before = f"{{at_ms: 1400, hold: {{message: AppendEntries, entries: true, times: all}}}}, {{at_ms: 1520, {line}}}"
    write = f"{{at_ms: 1500, write: {{node: leader, key: x, value: 7, outcome: {outcome}}}}}"
    result = run(f"[{WRITE}, {before}, {write}]", workload=SILENT)
    assert result.ok, failures(result)


def test_each_read_is_of_one_of_the_configured_kinds() -> None:
    mix = "{clients: 3, rate_per_s: 200, read_kind: [read, lease_read, follower_read, stale_read]}"
    world = World(scenario(workload=mix, cluster="{nodes: 3, lease_reads: true}"), 1, TraceWriter())
    world.run()
    kinds = [op.request for op in world.history if op.kind == "read"]
    assert all(
        kinds.count(kind) > 15 for kind in ("read", "lease_read", "follower_read", "stale_read")
    )
    bounds = {op.max_staleness_ms for op in world.history if op.request == "stale_read"}
    assert bounds == {1000}


def test_timeline_reads_default_to_the_workloads_kind() -> None:
    timeline = (
        "[{at_ms: 1000, read: 1}, {at_ms: 1100, read: {node: 1, max_staleness_ms: 77}},"
        " {at_ms: 1200, read: {node: 1, read_kind: [read, follower_read]}}]"
    )
    mix = "{clients: 0, read_kind: stale_read, max_staleness_ms: 400}"
    world = World(scenario(timeline, workload=mix), 1, TraceWriter())
    world.run()
    sent = [(one.op.request, one.op.max_staleness_ms) for one in world.operation_actions.operations]
    assert sent[:2] == [("stale_read", 400), ("stale_read", 77)]
    assert sent[2] in (("read", 0), ("follower_read", 0))


def test_a_too_stale_read_is_retried_at_another_node() -> None:
    result = run(
        "[{at_ms: 1000, isolate: 1, for_ms: 1500}]",
        "{safe: true, min_ok_reads: 100}",
        workload="{clients: 3, rate_per_s: 100, read_fraction: 1.0, cas_fraction: 0.0, read_kind: stale_read,"
        " max_staleness_ms: 200}",
    )
    assert result.ok, failures(result)
    kinds = result.metrics["reads_by_kind"]
    assert isinstance(kinds, dict)
    counts = kinds["stale_read"]
    assert isinstance(counts, dict)
    assert counts["refused"] <= counts["too_stale"] + 5  # type: ignore[operator]  # numbers


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("read: {node: 1, read_kind: fresh_read}", "read_kind"),
        ("read: {node: 1, read_kind: []}", "read_kind"),
        ("read: {node: 1, outcome: good}", "no outcome is called 'good'"),
        ("read: {node: 1, value: 5}", "give what it must find as `expect`"),
        ("write: {node: 1, expect: 5}", "expect goes with a read"),
        ("write: {node: 1, read_kind: read}", "read_kind goes with a read"),
        ("read: {node: 1, max_staleness_ms: -1}", "max_staleness_ms"),
    ],
)
def test_invalid_operations_are_rejected(line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scenario(f"[{{at_ms: 1, {line}}}]")
