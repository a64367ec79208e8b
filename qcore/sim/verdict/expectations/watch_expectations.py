"""Judges the expectations about watchers. `qcore.sim.invariants.watch_checker` judges each notice by itself."""

from __future__ import annotations

from collections.abc import Iterator

from qcore.sim.invariants.watch_checker import WatchChecker, WatcherLog
from qcore.sim.scenario.specs.expect_spec import ExpectSpec
from qcore.sim.verdict.result import Expectation


def judge_watches(checker: WatchChecker, expect: ExpectSpec) -> Iterator[Expectation]:
    """Judge a finished run.

    Args:
        checker: what the watchers received, and what they should have.
        expect: the expectations of the scenario.
    """
    logs = checker.logs
    notices = sum(log.notices for log in logs)
    if expect.watchers_complete is not None:
        problems = [text for log in logs if (text := _incomplete(checker, log))]
        if not notices:
            problems.append("no watcher saw a change")
        wanted = (
            "at the end each watcher has seen every change"
            if expect.watchers_complete
            else "some watcher has not seen every change"
        )
        seen = problems[0] if problems else f"{len(logs)} watchers saw {notices} changes"
        yield Expectation(
            "watchers_complete", (not problems) == expect.watchers_complete, wanted, seen
        )
    for name, count, number in (
        ("notices", expect.notices, notices),
        ("watches_resumed", expect.watches_resumed, sum(log.resumed for log in logs)),
        ("watches_compacted", expect.watches_compacted, sum(len(log.gaps) for log in logs)),
    ):
        if count is not None:
            yield Expectation(name, count.holds(number), str(count), str(number))


def _incomplete(checker: WatchChecker, log: WatcherLog) -> str:
    """Why a watcher is not complete at the end; empty if it is."""
    if log.refusal:
        return f"{log.name} stopped: {log.refusal}"
    if log.position is None:
        return f"{log.name} has no watch"
    missing = checker.missing(log)
    if not missing:
        return ""
    where = f"at node {log.node}" if log.node else "without a node"
    return (
        f"{log.name}, {where}, saw the changes up to {list(log.position)} and lacks {len(missing)}, the first of them "
        f"{list(missing[0])}"
    )
