"""Judges `work_done`: a run in which nothing was asked, or every answer was an error, proves nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from qcore.sim.oracles.user_function import shortened
from qcore.sim.verdict.expectations.run_facts import RunFacts
from qcore.sim.verdict.result import Expectation
from qcore.sim.workload.operations import ClientOperation

#: The errors by which a custom state machine answers a request that it does not understand, or breaks its contract.
_ERRORS_OF_MACHINES = ("StoreError", "ResultInvalid", "ResultTooLarge")
#: How an answer of a custom state machine begins if it is an error. JSON with an `error` is one, too.
_BEGIN_OF_ERRORS = ("error", "bad command", "bad query", "bad request")


def judge_work(run: RunFacts) -> Expectation:
    """Expect that some request was answered with success.

    A custom state machine must also answer some request of each kind that clients ask: if it answers all writes, or all
    reads, with errors, then the requests do not fit the machine.
    """
    history = run.world.history
    allowed = bool(run.expect.may_do_nothing)
    done = sum(op.outcome == "ok" and op.note not in _ERRORS_OF_MACHINES for op in history)
    texts = [f"{done} of {len(history)} requests answered"] if history else []
    useless: list[str] = []
    for kind in ("write", "read"):
        errors, all_of_kind = _errors(op for op in history if op.is_raw and op.kind == kind)
        if errors:
            (useless if all_of_kind else texts).append(f"{kind}s: {errors}")
    if not history:
        useless.append("no request was asked")
    elif not done:
        useless.append(f"none of {len(history)} requests was answered: {_why_not(history)}")
    return Expectation(
        "work_done",
        allowed or not useless,
        "nothing; it may" if allowed else "some requests are answered",
        "; ".join(useless or texts),
    )


def _errors(asked: Iterable[ClientOperation]) -> tuple[str, bool]:
    """The errors of a custom machine among requests of one kind, as a text, and whether it answered nothing else."""
    codes: Counter[str] = Counter()
    total = answered = bad = 0
    first_bad = ""
    for op in asked:
        total += 1
        if op.note in _ERRORS_OF_MACHINES:
            codes[op.note] += 1
        elif op.outcome == "ok":
            answered += 1
            if _is_error(op.answer):
                first_bad = first_bad if bad else str(op.answer)
                bad += 1
    only_errors = bad == answered
    texts = [f"{number} {code}" for code, number in sorted(codes.items())]
    if bad and only_errors:
        texts.append(f"{bad} answers such as {shortened(first_bad, 80)!r}")
    if not texts:
        return "", False
    counts = f"{', '.join(texts)} of {total}"
    return (f"only errors: {counts}", True) if only_errors else (counts, False)


def _is_error(answer: str | None) -> bool:
    """Whether the answer of a custom machine is an error, by the usual forms."""
    if answer is None:
        return False
    if answer.lower().startswith(_BEGIN_OF_ERRORS):
        return True
    if not answer.startswith("{"):
        return False
    try:
        decoded = json.loads(answer)
    except (ValueError, RecursionError):
        return False
    return isinstance(decoded, dict) and decoded.get("error") is not None


def _why_not(history: Iterable[ClientOperation]) -> str:
    counts = Counter(
        f"{op.outcome or 'no outcome yet'}{f' ({op.note})' if op.note else ''}" for op in history
    )
    return ", ".join(f"{number} {text}" for text, number in counts.most_common(3))
