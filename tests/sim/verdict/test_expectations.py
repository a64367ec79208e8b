"""Each expectation can hold and can fail."""

from __future__ import annotations

import pytest

from qcore.client.programs.program_context import ProgramContext
from qcore.core.version import LATEST_RULES
from qcore.kv import KeyValue
from qcore.sim import parse_scenario, run_scenario
from tests.sim.support.scenario_texts import failures, run

CRASH = "[{at_ms: 1000, crash: leader, for_ms: 500}]"
STALE = (
    "[{at_ms: 1000, isolate: leader}, {at_ms: 1010, write: old_leader}, {at_ms: 2000, heal: all}]"
)
SPLIT = "[{at_ms: 1000, partition: [[1], [2], [3]]}, {at_ms: 2000, heal: all}]"
BLINK = "[{at_ms: 1000, pause: {random: 1}, for_ms: 20}]"
FOREVER = "[{at_ms: 1000, crash: {random: 2}}]"
DISK_ERROR = "[{at_ms: 1000, disk_error: 3}, {at_ms: 1500, restart: 3}]"
ROT = "[{at_ms: 1000, do: [{bit_rot: 3}, {crash: 3}]}, {at_ms: 1500, restart: 3}]"
SHRINK = "[{at_ms: 1000, remove: 3}]"
BEHIND = "[{at_ms: 1000, crash: follower_1}, {at_ms: 2000, snapshot: leader}, {at_ms: 2500, restart: down}]"
COUNT = "{clients: 2, rate_per_s: 40, sessions: true}"
RARELY = "{clients: 1, sessions: true, session_lifetime_ms: 1000, think_ms: 1200, mode: closed}"
WATCH = "{clients: 2, rate_per_s: 40, keys: 2, watchers: 3}"
NO_LEADER = "[{at_ms: 100, crash: {random: 2}}]"
ALL = "[{at_ms: 1500, crash: all, for_ms: 300}]"
QUIET = "{clients: 2, rate_per_s: 40, start_ms: 800}"

CASES = [
    ("safe", "true", CRASH, None, None),
    ("safe", "false", None, CRASH, None),
    ("linearizable", "true", CRASH, None, None),
    ("linearizable", "false", None, CRASH, None),
    ("violation", "election_safety", None, CRASH, None),
    ("violation", "any", None, "[]", None),
    ("converges", "true", CRASH, FOREVER, None),
    ("converges", "false", FOREVER, CRASH, None),
    ("acknowledged_writes_present", "true", CRASH, None, None),
    ("acknowledged_writes_present", "false", None, CRASH, None),
    ("consistency", "sequential", CRASH, None, None),
    ("consistency", "serializable", CRASH, None, None),
    ("consistency", "sequential", None, "[]", "{clients: 0}"),
    ("may_do_nothing", "true", "[]", None, "{clients: 0}"),
    ("may_do_nothing", "false", None, "[]", "{clients: 0}"),
    ("first_leader_within_ms", "1500", CRASH, None, None),
    ("first_leader_within_ms", "10", None, CRASH, None),
    ("new_leader_within_ms", "1000", CRASH, None, None),
    ("new_leader_within_ms", "20", None, CRASH, None),
    ("new_leader_within_ms", "1000", "[]", FOREVER, None),
    ("old_leader_steps_down_within_ms", "600", STALE, None, None),
    ("old_leader_steps_down_within_ms", "100", None, STALE, None),
    ("leader_changes", "1", CRASH, "[]", None),
    ("leader_changes", "{at_most: 0}", "[]", CRASH, None),
    ("max_leader_changes", "0", "[]", CRASH, None),
    ("same_leader", "true", "[]", CRASH, None),
    ("same_leader", "false", CRASH, "[]", None),
    ("leader_at_end", "true", CRASH, FOREVER, None),
    ("elections", "'>= 2'", CRASH, "[]", None),
    ("max_elections", "1", "[]", CRASH, None),
    ("no_election_after_first", "true", "[]", CRASH, None),
    ("elections_after_heal", "0", CRASH, None, None),
    ("elections_after_heal", "{min: 1}", SPLIT, BLINK, None),
    ("term_growth", "0", "[]", CRASH, None),
    ("max_term_growth", "0", "[]", CRASH, None),
    ("writes_succeed_after_heal", "true", CRASH, FOREVER, None),
    ("writes_succeed_after_heal", "false", FOREVER, CRASH, None),
    ("recovers_within_ms", "1500", SPLIT, FOREVER, None),
    ("live_within_ms", "1500", CRASH, FOREVER, None),
    ("every_write_succeeds", "true", "[]", FOREVER, QUIET),
    ("every_write_succeeds", "false", FOREVER, "[]", QUIET),
    ("min_ok_writes", "20", CRASH, None, None),
    ("min_ok_writes", "20", None, "[]", "{clients: 0}"),
    ("min_ok_reads", "2000", None, CRASH, None),
    ("unavailable_at_most_ms", "900", CRASH, SPLIT, None),
    ("unavailable_at_most_ms", "900", None, FOREVER, None),
    ("availability", "{requests_at_least: 0.9, time_at_least: 0.6}", CRASH, FOREVER, None),
    ("max_unavailable_windows", "1", "[]", CRASH, None),
    ("messages_per_operation", "'<= 8'", "[]", FOREVER, None),
    ("no_commits_between", "[1010, 2000]", SPLIT, "[]", None),
    ("commits_in_minority", "0", STALE, None, None),
    ("commits_in_minority", "1", None, STALE, None),
    ("truncated_entries", "'> 0'", STALE, "[]", None),
    ("unsynced_writes_lost", "0", "[]", None, None),
    ("unsynced_writes_lost", "1", None, "[]", None),
    ("unsynced_writes_survived", "0", "[]", None, None),
    ("stopped_by_disk", "1", DISK_ERROR, CRASH, None),
    ("starts_refused", "1", ROT, CRASH, None),
    ("unsynced_writes_survived", "1", None, "[]", None),
    ("sessions_expired", "0", "[]", None, COUNT),
    ("sessions_expired", "'>= 1', may_do_nothing: true", "[]", None, RARELY),
    ("sessions_expired", "0", None, "[]", RARELY),
    ("exactly_once", "true", CRASH, None, COUNT),
    ("exactly_once", "true", None, "[]", "{clients: 0, sessions: true}"),
    ("final_voters", "[1, 2]", SHRINK, CRASH, None),
    ("final_rules", str(LATEST_RULES), CRASH, None, None),
    ("final_rules", "1", None, "[]", None),
    ("snapshots_installed", "'>= 1'", BEHIND, CRASH, None),
    ("watchers_complete", "true", CRASH, NO_LEADER, WATCH),
    ("watchers_complete", "false, may_do_nothing: true", NO_LEADER, CRASH, WATCH),
    ("notices", "'>= 10'", CRASH, NO_LEADER, WATCH),
    ("watches_resumed", "'>= 1'", ALL, "[]", WATCH),
    ("watches_compacted", "0", ALL, None, WATCH),
    ("watches_compacted", "'>= 1'", None, ALL, WATCH),
]

#: The rows of keys that have another name in the verdict.
ROWS = {"may_do_nothing": "work_done", "availability": "availability.requests_at_least"}


@pytest.mark.parametrize(
    ("name", "expected", "holds", "fails", "workload"),
    CASES,
    ids=[f"{case[0]}: {case[1]} {number}" for number, case in enumerate(CASES)],
)
def test_each_expectation_can_hold_and_fail(
    name: str, expected: str, holds: str | None, fails: str | None, workload: str | None
) -> None:
    load = workload or "{clients: 2, rate_per_s: 40}"
    for timeline, ok in ((holds, True), (fails, False)):
        if timeline is not None:
            result = run(
                timeline, f"{{{name}: {expected}}}", seed=2, workload=load, until_ms="4000"
            )
            (verdict,) = [e for e in result.expectations if e.name == ROWS.get(name, name)]
            assert verdict.ok is ok, (timeline, verdict, failures(result))
            assert result.ok is ok


def test_every_expectation_is_judged_and_has_a_case() -> None:
    from qcore.sim.scenario.specs.expect_spec import ExpectSpec

    assert {case[0] for case in CASES} == set(ExpectSpec.model_fields)


def test_power_loss_in_the_middle_of_writes_loses_unsynced_ones() -> None:
    result = run(
        "[{at_ms: 1500, power_loss: all, for_ms: 100}]",
        "{unsynced_writes_lost: {at_least: 1}, acknowledged_writes_present: true}",
        cluster="{nodes: 3, disk: {latency_ms: 20}}",
        workload="{clients: 5, rate_per_s: 300, read_fraction: 0}",
    )
    assert result.ok, failures(result)


async def leave_a_lease(ctx: ProgramContext) -> None:
    kv = KeyValue(ctx.client)
    await kv.put("a", "x", lease=await kv.grant(1))


@pytest.mark.parametrize("until_ms", [1500, 1560, 2000])
def test_a_tick_on_its_way_does_not_make_states_differ(until_ms: int) -> None:
    """The leader has ended a lease, and the followers do not know yet, or do."""
    scenario = parse_scenario(
        "{cluster: {machine: kv}, network: {latency_ms: 20}, workload: {clients: 1, stop_ms: 1400}, "
        f"until_ms: {until_ms}, expect: {{converges: true}}}}"
    )
    result = run_scenario(scenario, 1, program=leave_a_lease)
    assert result.ok, result.failed()
