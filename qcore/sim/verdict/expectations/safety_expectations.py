"""Judges the expectations about safety: violations, convergence, acknowledged writes, commits and increments."""

from __future__ import annotations

import json
from collections.abc import Iterator

from qcore.sim.verdict.expectations.run_facts import RunFacts
from qcore.sim.verdict.result import Expectation
from qcore.sim.verdict.service_at_end import member_states, most_advanced_node


def judge_safety(run: RunFacts) -> Iterator[Expectation]:
    checks = list(dict.fromkeys(violation.check for violation in run.violations))
    if run.expect.must_be_safe:
        seen = f"violated: {', '.join(checks)}" if checks else "no violation"
        if run.verdict.result == "unknown":
            of_key = "" if run.verdict.key is None else f" of {run.verdict.key}"
            seen += f"; linearizability{of_key} undecided within the budget"
        yield Expectation("safe", not checks, "no violation", seen)
    if run.expect.safe is False:
        seen = f"caught: {', '.join(checks)}" if checks else "nothing was caught"
        yield Expectation("safe", bool(checks), "a violation is caught", seen)
    if run.expect.violation is not None:
        wanted = run.expect.violation
        caught = bool(checks) if "any" in wanted else all(name in checks for name in wanted)
        seen = f"caught: {', '.join(checks)}" if checks else "nothing was caught"
        yield Expectation("violation", caught, " and ".join(wanted), seen)
    if run.expect.linearizable is not None:
        yield Expectation(
            "linearizable",
            (run.verdict.result == "ok") == run.expect.linearizable,
            "yes" if run.expect.linearizable else "no",
            f"{run.verdict.result}, {run.verdict.operations} operations",
        )


def judge_convergence(run: RunFacts) -> Iterator[Expectation]:
    if run.expect.converges is not None:
        equal, seen = member_states(run.world)
        expected = "all members run and are equal" if run.expect.converges else "nodes differ"
        yield Expectation("converges", equal == run.expect.converges, expected, seen)
    if run.expect.acknowledged_writes_present is not None:
        done = sum(op.is_acknowledged_write for op in run.world.history)
        seen = f"{len(run.lost)} are not: {run.lost[0]}" if run.lost else f"all {done} are"
        yield Expectation(
            "acknowledged_writes_present",
            (not run.lost) == run.expect.acknowledged_writes_present,
            "every acknowledged write is in the logs of all who could be elected at the end",
            seen,
        )


def judge_exactly_once(run: RunFacts) -> Iterator[Expectation]:
    """Expect that each acknowledged increment counted once.

    No two increments produced the same value, and the final value of each register is its number of increments."""
    if run.expect.exactly_once is None:
        return
    keys: set[str] = set()
    done = again = doubt = 0
    for op in run.world.history:
        if op.request == "session":
            keys.add(op.key)
            done += op.outcome == "ok"
            again += op.attempt - 1 if op.may_have_applied else 0
            doubt += op.outcome in (None, "unknown")
    problems = [problem for key in sorted(keys) for problem in _counts(run, key)]
    if not done:
        problems.append("no increment was acknowledged")
    seen = problems[0] if problems else f"{done} increments, {again} repeated, {doubt} in doubt"
    wanted = "each increment counted once" if run.expect.exactly_once else "some counted otherwise"
    yield Expectation("exactly_once", (not problems) == run.expect.exactly_once, wanted, seen)


def _counted(answer: str) -> object:
    """The value in the answer to an increment; None if it is no such answer."""
    try:
        return json.loads(answer)["value"]
    except (ValueError, KeyError, TypeError):
        return None


def _counts(run: RunFacts, key: str) -> Iterator[str]:
    """The problems with the increments of one register."""
    answers: list[str] = []
    may_have_applied = 0
    for op in run.world.history:
        if op.request == "session" and op.key == key:
            if op.outcome == "ok":
                answers.append(str(op.output))
            may_have_applied += op.outcome in (None, "unknown")
    values = [_counted(answer) for answer in answers]
    if None in values:
        yield f"an increment of {key} was answered with {answers[values.index(None)]!r}"
    if len(set(values)) != len(values):
        yield f"two increments of {key} got the same value"
    best = most_advanced_node(run.world)
    if best is None or best.replica is None:
        yield "no node runs"
        return
    query = json.dumps({"op": "get", "key": key})
    total = json.loads(best.replica.machine.query(query))["value"] or 0
    if not len(values) <= total <= len(values) + may_have_applied:
        yield f"{key} is {total} after {len(values)} increments, and {may_have_applied} in doubt"
