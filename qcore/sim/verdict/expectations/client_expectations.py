"""Judges the expectations about the requests of clients: their outcomes, and how long writes were unavailable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from qcore.sim.faults.timeline_operations import TimelineOperation
from qcore.sim.scenario.values import Count, microseconds
from qcore.sim.verdict.availability import (
    availability_of,
    messages_per_operation,
    return_times,
)
from qcore.sim.verdict.expectations.run_facts import RunFacts, count
from qcore.sim.verdict.result import Expectation
from qcore.sim.verdict.service_at_end import judge_liveness

_SHOWN = 5


def equal_register_values(one: object, other: object) -> bool:
    """Equality of register values by the rules of JSON: 1 and true differ."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def judge_availability(run: RunFacts) -> Iterator[Expectation]:
    expect = run.expect
    if expect.writes_succeed_after_heal is not None:
        later = Counter(op.outcome == "ok" for op in run.writes() if op.invoke_us >= run.healed_at)
        wanted = "some" if expect.writes_succeed_after_heal else "none"
        seen = f"{later[True]} of {later.total()} begun after {run.healed_at / 1000:g} ms"
        yield Expectation(
            "writes_succeed_after_heal",
            bool(later[True]) == expect.writes_succeed_after_heal,
            wanted,
            seen,
        )
    if expect.live_within_ms is not None:
        yield judge_liveness(run.world, run.healed_at, expect.live_within_ms)
    if expect.recovers_within_ms is not None:
        yield _recovery(run, expect.recovers_within_ms)
    if expect.every_write_succeeds is not None:
        succeeded = Counter(op.outcome == "ok" for op in run.writes())
        seen = f"{succeeded[False]} of {succeeded.total()} did not"
        yield Expectation(
            "every_write_succeeds",
            (not succeeded[False] and bool(succeeded[True])) == expect.every_write_succeeds,
            "all writes acknowledged" if expect.every_write_succeeds else "not all acknowledged",
            seen,
        )
    for name, kind, least in (
        ("min_ok_writes", "write", expect.min_ok_writes),
        ("min_ok_reads", "read", expect.min_ok_reads),
    ):
        if least is not None:
            yield count(name, Count(at_least=least), sum(1 for _ in run.ok(kind)))
    if expect.unavailable_at_most_ms is not None:
        yield _unavailability(run, expect.unavailable_at_most_ms)
    yield from _shares(run)


def _shares(run: RunFacts) -> Iterator[Expectation]:
    expect = run.expect
    spec, most = expect.availability, expect.max_unavailable_windows
    if spec is not None or most is not None:
        found = availability_of(run.world)
        windows = [f"{start / 1000:g} to {end / 1000:g} ms" for start, end in found.windows]
        shown = f"{len(windows)} windows{': ' if windows else ''}{', '.join(windows[:_SHOWN])}"
        if spec is not None and spec.requests_at_least is not None:
            name, least = "availability.requests_at_least", spec.requests_at_least
            yield _share(name, least, found.requests, "no request was asked")
        if spec is not None and spec.time_at_least is not None:
            name, least = "availability.time_at_least", spec.time_at_least
            judged = _share(name, least, found.time, "no write was asked")
            yield replace(judged, seen=f"{judged.seen}; {shown}")
        if most is not None:
            ok = len(windows) <= most
            yield Expectation("max_unavailable_windows", ok, f"at most {most}", shown)
    if expect.messages_per_operation is not None:
        ratio = messages_per_operation(run.world)
        yield Expectation(
            "messages_per_operation",
            ratio is not None and expect.messages_per_operation.holds(ratio),
            str(expect.messages_per_operation),
            "no request was answered" if ratio is None else f"{ratio:.2f}",
        )


def _share(name: str, least: float, share: float | None, nothing: str) -> Expectation:
    ok = share is not None and share >= least
    return Expectation(
        name, ok, f"at least {least:g}", nothing if share is None else f"{share:.4f}"
    )


def _recovery(run: RunFacts, limit_ms: float) -> Expectation:
    times = (op.return_us for op in run.ok("write") if op.invoke_us >= run.healed_at)
    first = min(times, default=None)
    took = None if first is None else first - run.healed_at
    return Expectation(
        "recovers_within_ms",
        took is not None and took <= microseconds(limit_ms),
        f"at most {limit_ms:g} ms",
        "no write succeeded" if took is None else f"{took / 1000:g} ms",
    )


def _unavailability(run: RunFacts, limit_ms: float) -> Expectation:
    """The longest time between two acknowledgements while clients were writing."""
    gap, last = 0, None
    for time in return_times(run.ok("write")):
        gap, last = max(gap, 0 if last is None else time - last), time
    if last is None:
        return Expectation(
            "unavailable_at_most_ms", False, f"at most {limit_ms:g} ms", "no write succeeded"
        )
    gap = max(gap, max(op.invoke_us for op in run.writes()) - last)
    return Expectation(
        "unavailable_at_most_ms",
        gap <= microseconds(limit_ms),
        f"at most {limit_ms:g} ms",
        f"{gap / 1000:g} ms",
    )


def judge_timeline_operation(asked: TimelineOperation) -> Iterator[Expectation]:
    """Judge one operation of the timeline: its outcome, and the value that a read finds."""
    action, op = asked.action, asked.op
    ended = f"{op.outcome}{f' ({op.note})' if op.note else ''}" if op.outcome else "no outcome yet"
    who = f"{op.request} of {op.key} at node {op.only_node}"
    if action.outcome is not None:
        ok = op.outcome in action.outcome or op.note in action.outcome
        yield Expectation(asked.name, ok, " or ".join(action.outcome), f"{who}: {ended}")
    if action.expects_a_value:
        ok = op.outcome == "ok" and equal_register_values(op.output, action.expect)
        seen = f"found {op.output!r}" if op.outcome == "ok" else ended
        yield Expectation(asked.name, ok, f"finds {action.expect!r}", f"{who}: {seen}")
