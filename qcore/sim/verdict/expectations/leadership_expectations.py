"""Judges the expectations about leaders, elections and terms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from qcore.sim.scenario.values import Count, microseconds
from qcore.sim.verdict.expectations.run_facts import RunFacts, count
from qcore.sim.verdict.monitor import Interval
from qcore.sim.verdict.result import Expectation


def judge_leadership(run: RunFacts) -> Iterator[Expectation]:
    expect, record = run.expect, run.record
    first = [interval for interval in record.leaderless if interval.first]
    later = [interval for interval in record.leaderless if not interval.first]
    if expect.first_leader_within_ms is not None:
        yield _within(
            "first_leader_within_ms", expect.first_leader_within_ms, first, run.now, "no start"
        )
    if expect.new_leader_within_ms is not None:
        yield _new_leader(run, expect.new_leader_within_ms, later or first)
    if expect.old_leader_steps_down_within_ms is not None:
        yield _within(
            "old_leader_steps_down_within_ms",
            expect.old_leader_steps_down_within_ms,
            record.stale_leaders,
            run.now,
            "no leader was cut off",
        )
    changes = max(0, len(record.leaders) - 1)
    if expect.leader_changes is not None:
        yield count("leader_changes", expect.leader_changes, changes)
    if expect.max_leader_changes is not None:
        yield count("max_leader_changes", Count(at_most=expect.max_leader_changes), changes)
    if expect.same_leader is not None:
        leaders = ", ".join(f"node {e.node} in term {e.term}" for e in record.leaders[:6])
        same = len(record.leaders) == 1
        wanted = "one leader all along" if expect.same_leader else "several leaders"
        yield Expectation("same_leader", same == expect.same_leader, wanted, leaders or "no leader")
    if expect.leader_at_end is not None:
        facts = run.world.services.monitor.facts
        leads = [node for node, fact in facts.items() if fact.leads and fact.connected]
        seen = f"node {leads[0]} leads" if len(leads) == 1 else f"{len(leads)} leaders"
        wanted = "one leader with a quorum" if expect.leader_at_end else "no such leader"
        yield Expectation("leader_at_end", (len(leads) == 1) == expect.leader_at_end, wanted, seen)


def _new_leader(run: RunFacts, limit_ms: float, intervals: Sequence[Interval]) -> Expectation:
    """Judge `new_leader_within_ms`.

    Time in which no node reaches a quorum counts only if it lasts until the end of the run.
    """
    judged = _within("new_leader_within_ms", limit_ms, intervals, run.now, "no leader was lost")
    if any(facts.connected for facts in run.world.services.monitor.facts.values()):
        return judged
    return replace(judged, ok=False, seen=f"{judged.seen}; at the end no node reaches a quorum")


def _longest(intervals: Sequence[Interval], now: int) -> int:
    return max((interval.length(now) for interval in intervals), default=0)


def _within(
    name: str, limit_ms: float, intervals: Sequence[Interval], now: int, nothing: str
) -> Expectation:
    longest = _longest(intervals, now)
    open_ended = any(interval.end is None for interval in intervals)
    ok = longest <= microseconds(limit_ms)
    seen = f"{longest / 1000:g} ms" if intervals else nothing
    if open_ended:
        seen += ", and not over at the end"
    return Expectation(name, ok, f"at most {limit_ms:g} ms", seen)


def judge_elections(run: RunFacts) -> Iterator[Expectation]:
    expect, record = run.expect, run.record
    if expect.elections is not None:
        yield count("elections", expect.elections, len(record.elections))
    if expect.max_elections is not None:
        yield count("max_elections", Count(at_most=expect.max_elections), len(record.elections))
    if expect.no_election_after_first is not None:
        since = record.leaders[0].time if record.leaders else 0
        later = sum(elected.time > since for elected in record.elections)
        ok = bool(record.leaders) and (later == 0) == expect.no_election_after_first
        wanted = "none after the first leader" if expect.no_election_after_first else "some"
        yield Expectation("no_election_after_first", ok, wanted, f"{later} later")
    if expect.elections_after_heal is not None:
        later = sum(elected.time > run.healed_at for elected in record.elections)
        yield count("elections_after_heal", expect.elections_after_heal, later)
    first_term = record.leaders[0].term if record.leaders else 1
    growth = max(0, record.highest_term - first_term)
    if expect.term_growth is not None:
        yield count("term_growth", expect.term_growth, growth)
    if expect.max_term_growth is not None:
        yield count("max_term_growth", Count(at_most=expect.max_term_growth), growth)
