"""Judges a finished run by the expectations of its scenario: one function for each group of keys of `expect`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from qcore.sim.faults.timeline_operations import TimelineOperation
from qcore.sim.linearizability import LinearizabilityVerdict
from qcore.sim.scenario.specs.expect_spec import ExpectSpec
from qcore.sim.scenario.values import Count, microseconds
from qcore.sim.verdict.end_of_run import (
    judge_liveness,
    member_states,
    members_at_end,
    most_advanced_node,
)
from qcore.sim.verdict.monitor import Interval
from qcore.sim.verdict.result import Expectation
from qcore.sim.verdict.watch_expectations import judge_watches
from qcore.sim.workload.operations import ClientOperation
from qcore.sim.workload.workload import SessionWorkload
from qcore.sim.world.world import World

#: The errors by which a custom state machine answers a request that it does not understand, or breaks its contract.
_ERRORS_OF_MACHINES = ("StoreError", "ResultInvalid", "ResultTooLarge")

_Judge = Callable[["RunFacts"], Iterator[Expectation]]


def judge(world: World, verdict: LinearizabilityVerdict, lost: Sequence[str]) -> list[Expectation]:
    """Judge every expectation of the scenario, and that every declared fault acted.

    Args:
        world: the finished run.
        verdict: the verdict of the linearizability checker.
        lost: the acknowledged writes that are lost; see `qcore.sim.verdict.log_queries.lost_writes`.
    """
    run_facts = RunFacts(world, verdict, lost)
    found = [item for part in _PARTS for item in part(run_facts)]
    idle = world.ledger.idle()
    seen = "; ".join(f"{fault.name} never acted" for fault in idle) or "all did"
    found.append(Expectation("every_fault_acted", not idle, "each at least once", seen))
    found += _custom_machine_answers(world.history)
    if world.services.watches is not None:
        found += judge_watches(world.services.watches, world.scenario.expect)
    return found


def _custom_machine_answers(history: Sequence[ClientOperation]) -> Iterator[Expectation]:
    """Expect that the custom machine answers at least one request of each kind without an error.

    Otherwise the requests do not fit the machine, or it breaks its contract, and the run proves nothing.
    """
    for kind in ("write", "read"):
        asked = [op for op in history if op.is_raw and op.kind == kind]
        errors = Counter(op.note for op in asked if op.note in _ERRORS_OF_MACHINES)
        if errors:
            useful = any(op.outcome == "ok" and op.note not in _ERRORS_OF_MACHINES for op in asked)
            counts = ", ".join(f"{number} {code}" for code, number in sorted(errors.items()))
            counts += f" of {len(asked)}"
            seen = counts if useful else f"only errors: {counts}"
            yield Expectation(f"machine_answers_{kind}s", useful, "not only errors", seen)


class RunFacts:
    """The facts by which the expectations are judged. Times in microseconds."""

    def __init__(self, world: World, verdict: LinearizabilityVerdict, lost: Sequence[str]) -> None:
        self.world = world
        self.verdict = verdict
        self.lost = lost
        self.expect: ExpectSpec = world.scenario.expect
        self.now = world.engine.now
        self.record = world.services.monitor.record
        self.violations = world.services.violations
        #: The time of the last repair; without a repair, of the last action; without an action, of the start.
        action_times = world.timeline_runner.action_times
        self.healed_at = (
            action_times.repairs[-1] if action_times.repairs else action_times.last or 0
        )

    def writes(self) -> list[ClientOperation]:
        return [op for op in self.world.history if op.kind == "write"]

    def ok(self, kind: str) -> list[ClientOperation]:
        return [op for op in self.world.history if op.kind == kind and op.outcome == "ok"]


def equal_register_values(one: object, other: object) -> bool:
    """Equality of register values by the rules of JSON: 1 and true differ."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


# -- safety ---------------------------------------------------------------------------------------


def _safety(run: RunFacts) -> Iterator[Expectation]:
    checks = list(dict.fromkeys(violation.check for violation in run.violations))
    if run.expect.must_be_safe:
        seen = f"violated: {', '.join(checks)}" if checks else "no violation"
        if run.verdict.result == "unknown":
            seen += f"; linearizability of {run.verdict.key} undecided within the budget"
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


def _convergence(run: RunFacts) -> Iterator[Expectation]:
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


# -- leadership -----------------------------------------------------------------------------------


def _longest(intervals: Sequence[Interval], now: int) -> int:
    return max((interval.length(now) for interval in intervals), default=0)


def _leadership(run: RunFacts) -> Iterator[Expectation]:
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
        yield _count("leader_changes", expect.leader_changes, changes)
    if expect.max_leader_changes is not None:
        yield _count("max_leader_changes", Count(at_most=expect.max_leader_changes), changes)
    if expect.same_leader is not None:
        leaders = ", ".join(f"node {e.node} in term {e.term}" for e in record.leaders[:6])
        same = len(record.leaders) == 1
        wanted = "one leader all along" if expect.same_leader else "several leaders"
        yield Expectation("same_leader", same == expect.same_leader, wanted, leaders or "nobody")
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


def _count(name: str, wanted: Count, number: int) -> Expectation:
    return Expectation(name, wanted.holds(number), str(wanted), str(number))


def _elections(run: RunFacts) -> Iterator[Expectation]:
    expect, record = run.expect, run.record
    if expect.elections is not None:
        yield _count("elections", expect.elections, len(record.elections))
    if expect.max_elections is not None:
        yield _count("max_elections", Count(at_most=expect.max_elections), len(record.elections))
    if expect.no_election_after_first is not None:
        since = record.leaders[0].time if record.leaders else 0
        later = sum(elected.time > since for elected in record.elections)
        ok = bool(record.leaders) and (later == 0) == expect.no_election_after_first
        wanted = "none after the first leader" if expect.no_election_after_first else "some"
        yield Expectation("no_election_after_first", ok, wanted, f"{later} later")
    if expect.elections_after_heal is not None:
        later = sum(elected.time > run.healed_at for elected in record.elections)
        yield _count("elections_after_heal", expect.elections_after_heal, later)
    first_term = record.leaders[0].term if record.leaders else 1
    growth = max(0, record.highest_term - first_term)
    if expect.term_growth is not None:
        yield _count("term_growth", expect.term_growth, growth)
    if expect.max_term_growth is not None:
        yield _count("max_term_growth", Count(at_most=expect.max_term_growth), growth)


# -- clients --------------------------------------------------------------------------------------


def _availability(run: RunFacts) -> Iterator[Expectation]:
    expect = run.expect
    if expect.writes_succeed_after_heal is not None:
        later = [op for op in run.writes() if op.invoke_us >= run.healed_at]
        ok = [op for op in later if op.outcome == "ok"]
        wanted = "some" if expect.writes_succeed_after_heal else "none"
        seen = f"{len(ok)} of {len(later)} begun after {run.healed_at / 1000:g} ms"
        yield Expectation(
            "writes_succeed_after_heal",
            bool(ok) == expect.writes_succeed_after_heal,
            wanted,
            seen,
        )
    if expect.live_within_ms is not None:
        yield judge_liveness(run.world, run.healed_at, expect.live_within_ms)
    if expect.recovers_within_ms is not None:
        yield _recovery(run, expect.recovers_within_ms)
    if expect.every_write_succeeds is not None:
        bad = [op for op in run.writes() if op.outcome != "ok"]
        seen = f"{len(bad)} of {len(run.writes())} did not"
        yield Expectation(
            "every_write_succeeds",
            (not bad and bool(run.writes())) == expect.every_write_succeeds,
            "all writes acknowledged" if expect.every_write_succeeds else "not all acknowledged",
            seen,
        )
    for name, kind, least in (
        ("min_ok_writes", "write", expect.min_ok_writes),
        ("min_ok_reads", "read", expect.min_ok_reads),
    ):
        if least is not None:
            yield _count(name, Count(at_least=least), len(run.ok(kind)))
    if expect.unavailable_at_most_ms is not None:
        yield _unavailability(run, expect.unavailable_at_most_ms)


def _recovery(run: RunFacts, limit_ms: float) -> Expectation:
    times = [op.return_us for op in run.ok("write") if op.invoke_us >= run.healed_at]
    took = min(times) - run.healed_at if times else None
    return Expectation(
        "recovers_within_ms",
        took is not None and took <= microseconds(limit_ms),
        f"at most {limit_ms:g} ms",
        "no write succeeded" if took is None else f"{took / 1000:g} ms",
    )


def _unavailability(run: RunFacts, limit_ms: float) -> Expectation:
    """The longest time between two acknowledgements while clients were writing."""
    times = sorted(op.return_us for op in run.ok("write"))
    asked = [op.invoke_us for op in run.writes()]
    if not times:
        return Expectation(
            "unavailable_at_most_ms", False, f"at most {limit_ms:g} ms", "no write succeeded"
        )
    ends = [*times, max(times[-1], max(asked))]
    gap = max((b - a for a, b in pairwise(ends)), default=0)
    return Expectation(
        "unavailable_at_most_ms",
        gap <= microseconds(limit_ms),
        f"at most {limit_ms:g} ms",
        f"{gap / 1000:g} ms",
    )


def _commits(run: RunFacts) -> Iterator[Expectation]:
    expect, record = run.expect, run.record
    for low, high in expect.no_commits_between or ():
        inside = sum(
            microseconds(low) < time <= microseconds(high) for time, _index in record.commits
        )
        name = "no_commits_between"
        yield Expectation(name, not inside, f"none in {low:g} to {high:g} ms", f"{inside}")
    if expect.commits_in_minority is not None:
        yield _count("commits_in_minority", expect.commits_in_minority, record.minority_commits)
    if expect.truncated_entries is not None:
        yield _count("truncated_entries", expect.truncated_entries, record.truncated)
    if expect.unsynced_writes_lost is not None:
        lost = sum(node.disk.writes_lost for node in run.world.nodes.values())
        yield _count("unsynced_writes_lost", expect.unsynced_writes_lost, lost)
    if expect.unsynced_writes_survived is not None:
        kept = sum(node.disk.writes_survived for node in run.world.nodes.values())
        yield _count("unsynced_writes_survived", expect.unsynced_writes_survived, kept)
    nodes = run.world.nodes.values()
    if expect.stopped_by_disk is not None:
        stops = sum(node.stopped_by_disk for node in nodes)
        yield _count("stopped_by_disk", expect.stopped_by_disk, stops)
    if expect.starts_refused is not None:
        refusals = sum(node.starts_refused for node in nodes)
        yield _count("starts_refused", expect.starts_refused, refusals)
    if expect.sessions_expired is not None:
        loads = [load for load in run.world.workloads if isinstance(load, SessionWorkload)]
        expired = sum(load.expired for load in loads)
        yield _count("sessions_expired", expect.sessions_expired, expired)


# -- membership, snapshots, sessions ---------------------------------------------------------------


def _outcomes_and_members(run: RunFacts) -> Iterator[Expectation]:
    for op in run.world.admin_actions.ops:
        if op.action.outcome is not None:
            seen = f"{op.outcome or op.last} after {op.attempts} attempts, last at node {op.node}"
            wanted = " or ".join(op.action.outcome)
            yield Expectation(op.name, op.has_expected_outcome, wanted, seen)
    for asked in run.world.operation_actions.operations:
        yield from _one_operation(asked)
    if run.expect.final_voters is not None:
        yield _final_voters(run, run.expect.final_voters)
    if run.expect.final_rules is not None:
        yield _final_rules(run, run.expect.final_rules)
    if run.expect.snapshots_installed is not None:
        installed = sum(node.snapshots_installed for node in run.world.nodes.values())
        yield _count("snapshots_installed", run.expect.snapshots_installed, installed)


def _one_operation(asked: TimelineOperation) -> Iterator[Expectation]:
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


def _final_voters(run: RunFacts, wanted: tuple[int, ...]) -> Expectation:
    """Expect that every running member uses the same configuration, with these voters, and that it is not joint."""
    found: dict[str, list[int]] = {}
    for node in members_at_end(run.world):
        replica = run.world.nodes[node].replica
        if replica is not None:
            now = replica.core.membership
            joint = f" joint with {list(now.voters_outgoing)}" if now.is_joint else ""
            found.setdefault(f"{list(now.voters)}{joint}", []).append(node)
    seen = "; ".join(f"{voters} on {', '.join(map(str, on))}" for voters, on in found.items())
    return Expectation(
        "final_voters",
        list(found) == [str(list(wanted))],
        str(list(wanted)),
        seen or "no node runs",
    )


def _final_rules(run: RunFacts, wanted: int) -> Expectation:
    """Expect that every running member applies entries by these rules."""
    found: dict[int, list[int]] = {}
    for node in members_at_end(run.world):
        replica = run.world.nodes[node].replica
        if replica is not None:
            found.setdefault(replica.versions.active.rules, []).append(node)
    seen = "; ".join(f"{rules} on {', '.join(map(str, on))}" for rules, on in found.items())
    return Expectation("final_rules", list(found) == [wanted], str(wanted), seen or "no node runs")


def _exactly_once(run: RunFacts) -> Iterator[Expectation]:
    """Expect that each acknowledged increment counted once.

    No two increments produced the same value, and the final value of each register is its number of increments."""
    if run.expect.exactly_once is None:
        return
    ops = [op for op in run.world.history if op.request == "session"]
    problems = [problem for key in sorted({op.key for op in ops}) for problem in _counts(run, key)]
    done = sum(op.outcome == "ok" for op in ops)
    if not done:
        problems.append("no increment was acknowledged")
    again = sum(op.attempt - 1 for op in ops if op.may_have_applied)
    doubt = sum(op.outcome in (None, "unknown") for op in ops)
    seen = problems[0] if problems else f"{done} increments, {again} repeated, {doubt} in doubt"
    wanted = "each increment counted once" if run.expect.exactly_once else "some counted otherwise"
    yield Expectation("exactly_once", (not problems) == run.expect.exactly_once, wanted, seen)


def _counts(run: RunFacts, key: str) -> Iterator[str]:
    """The problems with the increments of one register."""
    ops = [op for op in run.world.history if op.request == "session" and op.key == key]
    values = [json.loads(str(op.output)).get("value") for op in ops if op.outcome == "ok"]
    may_have_applied = sum(op.outcome in (None, "unknown") for op in ops)
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


_PARTS: tuple[_Judge, ...] = (
    _safety,
    _convergence,
    _leadership,
    _elections,
    _availability,
    _commits,
    _outcomes_and_members,
    _exactly_once,
)
