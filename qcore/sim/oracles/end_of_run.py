"""Asks a user's oracles about a finished run: what must hold at the end, the history, and the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from qcore.core.entry import Entry
from qcore.machines.interface import StateMachine
from qcore.sim.invariants import Report
from qcore.sim.oracles.model.consistency_check import ConsistencyVerdict, check_consistency
from qcore.sim.oracles.model.model_operation import operations_of
from qcore.sim.oracles.model.sequential_model import ModelRunner
from qcore.sim.oracles.model.state_judge import RegisterJudge, UserModelJudge
from qcore.sim.oracles.request_record import records_of
from qcore.sim.oracles.state_oracles import StateOracles
from qcore.sim.oracles.user_function import (
    BrokenOracle,
    place_of,
    problem_found,
    raised_text,
    shortened,
)
from qcore.sim.oracles.user_oracles import DEFAULT_BUDGET, Oracles
from qcore.sim.scenario.values import ConsistencyLevel
from qcore.sim.workload.operations import ClientOperation

_SHOWN_PROBLEMS = 5


@dataclass(slots=True, frozen=True)
class OracleRow:
    """How one oracle did, for the verdict of the run.

    Attributes:
        name: the oracle.
        ok: whether it was asked, did not break, and holds.
        violated: whether it reported a violation. Then the run fails by that, unless the scenario expects it.
        expected, seen: texts for humans.
    """

    name: str
    ok: bool
    expected: str
    seen: str
    violated: bool = False


@dataclass(slots=True)
class OracleFindings:
    """What all oracles found in one run.

    Attributes:
        rows: one for each oracle.
        consistency: the verdict of the user's model; None without one.
        registers: the verdict on registers at the level that the scenario asks for; None if it asks for none.
    """

    rows: list[OracleRow] = field(default_factory=list)
    consistency: ConsistencyVerdict | None = None
    registers: ConsistencyVerdict | None = None


@dataclass(slots=True, frozen=True)
class FinishedRun:
    """The facts of a finished run that oracles may ask for.

    Attributes:
        history: the operations of all clients.
        entries: the applied entries, by index.
        machines: by node, the machine of each running member.
        report: receives violations.
    """

    history: Sequence[ClientOperation]
    entries: Mapping[int, Entry]
    machines: Mapping[int, StateMachine]
    report: Report


def ask_oracles(
    run: FinishedRun,
    oracles: Oracles,
    during: StateOracles,
    model: ModelRunner | None,
    level: ConsistencyLevel,
) -> OracleFindings:
    """Ask everything that can only be asked at the end, and report what does not hold.

    Args:
        run: the finished run.
        oracles: the user's functions.
        during: what was asked about the states during the run.
        model: the user's model.
        level: what the order of the requests must respect.
    """
    findings = OracleFindings()
    findings.rows += _rows_of_states(oracles, during)
    for one in oracles.properties:
        if one.kind == "eventually":
            findings.rows.append(_at_the_end(one.name, one.function, run.machines))
    if oracles.check is not None:
        findings.rows.append(_check_history(oracles.check, run))
    if model is not None:
        _ask_model(findings, run, during, model, level, oracles.budget)
    return findings


def check_registers(run: FinishedRun, level: ConsistencyLevel) -> ConsistencyVerdict:
    """Check the operations on registers at a level that is weaker than linearizable, stale reads included."""
    operations = [
        replace(op, key=op.register.key, answer=repr(op.register.output))
        for op in operations_of(run.history, run.entries, stale_reads=True)
        if op.register is not None
    ]
    verdict = check_consistency(operations, RegisterJudge(), level, DEFAULT_BUDGET, {})
    if verdict.check is not None:
        run.report(verdict.check, 0, verdict.explanation)
    return verdict


def _rows_of_states(oracles: Oracles, during: StateOracles) -> Iterable[OracleRow]:
    names = ["invariant"] if oracles.invariant is not None else []
    names += [one.name for one in oracles.properties if one.kind == "always"]
    for name in names:
        label = name if name == "invariant" else f"always: {name}"
        wanted = "holds in every state"
        states = during.asked[name]
        if name in during.broken:
            yield OracleRow(label, False, wanted, during.broken[name])
        elif name in during.failed:
            yield OracleRow(label, False, wanted, f"not in state {states} of the run", True)
        else:
            yield OracleRow(label, states > 0, wanted, f"{states} states" if states else "no state")
    for one in oracles.properties:
        if one.kind == "sometimes":
            label, wanted = f"sometimes: {one.name}", "holds in some state"
            if one.name in during.broken:
                yield OracleRow(label, False, wanted, during.broken[one.name])
            elif one.name in during.seen:
                yield OracleRow(label, True, wanted, f"seen {during.seen[one.name]}")
            else:
                yield OracleRow(
                    label, False, wanted, f"never seen in {during.asked[one.name]} states"
                )


def _at_the_end(
    name: str, function: Callable[..., object], machines: Mapping[int, StateMachine]
) -> OracleRow:
    label, wanted = f"eventually: {name}", "holds at the end on every running member"
    problems = []
    for node, machine in machines.items():
        try:
            problem = problem_found(name, function, machine)
        except BrokenOracle as error:
            return OracleRow(label, False, wanted, f"{error}, asked about node {node}")
        if problem is not None:
            problems.append(f"not on node {node}: {problem}")
    if not machines:
        problems.append("no member runs")
    nodes = ", ".join(map(str, machines))
    return OracleRow(label, not problems, wanted, "; ".join(problems) or f"on nodes {nodes}")


def _check_history(check: Callable[..., object], run: FinishedRun) -> OracleRow:
    records = records_of(run.history)
    wanted = "finds nothing"
    try:
        problems = _problems_of_history(check, records)
    except BrokenOracle as error:
        return OracleRow("check", False, wanted, str(error))
    if not problems:
        return OracleRow("check", True, wanted, f"{len(records)} requests")
    shown = problems[:_SHOWN_PROBLEMS]
    if len(problems) > len(shown):
        shown.append(f"and {len(problems) - len(shown)} more")
    run.report("check", 0, "\n".join(shown))
    return OracleRow("check", False, wanted, f"found {len(problems)}", True)


def _problems_of_history(check: Callable[..., object], records: object) -> list[str]:
    name = "check"
    found: list[str] = []
    try:
        answer = check(records)
        if isinstance(answer, Iterable) and not isinstance(answer, str | dict):
            for text in answer:
                if not isinstance(text, str):
                    raise BrokenOracle(f"{name} returned {text!r:.100} in its list: return texts")
                found.append(shortened(text))
            return found
    except BrokenOracle:
        raise
    except AssertionError as error:
        return [
            *found,
            problem_found(name, _raising(error)) or f"an assertion failed ({place_of(error)})",
        ]
    except Exception as error:  # user code may raise anything
        raise BrokenOracle(raised_text(name, error)) from error
    problem = problem_found(name, lambda: answer)
    return [] if problem is None else [problem]


def _raising(error: AssertionError) -> Callable[[], object]:
    def again() -> object:
        raise error

    return again


def _ask_model(
    findings: OracleFindings,
    run: FinishedRun,
    during: StateOracles,
    model: ModelRunner,
    level: ConsistencyLevel,
    budget: int,
) -> None:
    name, wanted = "model", f"explains every answer ({level})"
    executed = {index: entry for index, entry in run.entries.items() if index in during.executed}
    try:
        operations = operations_of(run.history, executed, stale_reads=level != "linearizable")
        keys = [model.partition(op.request) for op in operations]
        if None not in keys:
            operations = [replace(op, key=key) for op, key in zip(operations, keys, strict=True)]
        verdict = check_consistency(
            operations, UserModelJudge(model), level, budget, during.restores
        )
    except BrokenOracle as error:
        findings.rows.append(OracleRow(name, False, wanted, str(error)))
        return
    findings.consistency = verdict
    if verdict.check is not None:
        run.report(verdict.check, 0, verdict.explanation)
    seen = verdict.seen if operations else "it judged no request"
    if verdict.result == "unknown" and verdict.check is None:
        seen = verdict.explanation
    ok = verdict.result == "ok" and not verdict.wrong_answer and bool(operations)
    findings.rows.append(OracleRow(name, ok, wanted, seen, verdict.check is not None))
