"""Passes of a shrink that move steps, join them, or keep only a part of the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from qcore.sim import parse_scenario, shrink
from qcore.sim.shrinking.candidate_values import Values, scenario_of, timeline_of
from qcore.sim.shrinking.edits import Case
from qcore.sim.shrinking.passes.move_passes import (
    drop_and_move,
    drop_first_campaign,
    keep_few_link_faults,
)
from qcore.sim.shrinking.passes.step_passes import join_steps, merge_moments, simplify_steps
from qcore.sim.shrinking.passes.time_passes import end_at_failure, end_earlier, only_last_part
from qcore.sim.shrinking.run_size import RunSize
from qcore.sim.shrinking.shrink_search import ShrinkSearch
from qcore.sim.shrinking.trial_run import Outcome, Trial

SIZE = RunSize(nodes=3, steps=5, clients=0, operations=0, messages=40, until_ms=900, settings=3)
FAILED = Outcome(is_valid=True, key="election_safety", failed_us=900_000, size=SIZE)
PASSED = Outcome(is_valid=True)


def case_of(*items: Values, until_ms: float = 1000) -> Case:
    values: Values = {
        "cluster": {"nodes": [1, 2, 3]},
        "timeline": list(items),
        "until_ms": until_ms,
    }
    return Case(Trial(values, 1), FAILED, is_violation=True)


def campaigns(*times: float) -> list[Values]:
    return [{"at_ms": at, "campaign": number % 3 + 1} for number, at in enumerate(times)]


def test_a_step_goes_if_the_others_come_closer() -> None:
    """The run fails without the first step only if the others happen within 20 ms."""

    def run_all(trials: Sequence[Trial]) -> list[Outcome]:
        return [FAILED if fails(trial) else PASSED for trial in trials]

    def fails(trial: Trial) -> bool:
        times: list[Any] = [item["at_ms"] for item in timeline_of(trial.values)]
        return len(times) == 4 and times[-1] - times[0] < 20

    case = case_of(*campaigns(10, 15, 19, 23, 60))
    search = ShrinkSearch(case, run_all, 1000)
    assert search.attempt(drop_and_move(case))
    assert len(search.case.items) == 4
    assert "with other times of other steps" in search.removed[0]


def test_the_drawn_times_are_always_the_same() -> None:
    case = case_of(*campaigns(10, 15, 19, 23, 60))
    first, again = (
        [(edit.only_seed, edit.applied(case.values)) for edit in drop_and_move(case)]
        for _ in range(2)
    )
    assert first == again
    assert len(first) == 5 * 30


def test_few_steps_and_expectations_are_not_moved() -> None:
    assert not drop_and_move(case_of(*campaigns(10, 20, 30)))
    case = case_of(*campaigns(10, 15, 19, 23, 60))
    assert not drop_and_move(Case(case.trial, case.outcome, is_violation=False))


def test_a_timer_may_elect_the_first_leader() -> None:
    case = case_of({"at_ms": 0, "campaign": 1}, {"at_ms": 10, "crash": 1})
    changed = drop_first_campaign(case)[0].applied(case.values)
    assert changed is not None
    assert changed["timeline"] == [{"at_ms": 410, "crash": 1}]
    assert not drop_first_campaign(case_of({"at_ms": 10, "crash": 1}))


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        ({"at_ms": 5, "write": 1}, {"at_ms": 7, "campaign": 2}, 2),
        ({"at_ms": 5, "write": 1}, {"at_ms": 5, "campaign": 2}, 1),
        ({"at_ms": 5, "campaign": 1}, {"at_ms": 7, "campaign": 2}, 0),
        ({"at_ms": 5, "crash": 1, "for_ms": 9}, {"at_ms": 7, "campaign": 2}, 0),
        ({"at_ms": 5, "crash": 1, "write": 2}, {"at_ms": 7, "campaign": 2}, 0),
    ],
)
def test_two_different_actions_become_one_item(first: Values, second: Values, merged: int) -> None:
    case = case_of(first, second)
    edits = merge_moments(case)
    assert len(edits) == merged
    for edit in edits:
        changed = edit.applied(case.values)
        assert changed is not None
        (item,) = timeline_of(changed)
        assert {*item} == {"at_ms", "write", "campaign"}


def test_two_equal_losses_become_one() -> None:
    drop: Values = {"at_ms": 5, "drop": {"message": ["AppendEntries"]}}
    case = case_of(drop, {**drop})
    (edit,) = join_steps(case)
    changed = edit.applied(case.values)
    assert changed is not None
    assert timeline_of(changed) == [
        {"at_ms": 5, "drop": {"message": ["AppendEntries"], "times": 2}}
    ]


@pytest.mark.parametrize(
    ("ends", "fault"),
    [
        ({"from": 1}, {"mute": 1}),
        ({"to": 2}, {"deaf": 2}),
        ({"from": 1, "to": 2}, {"cut": {"from": 1, "to": 2}}),
    ],
)
def test_a_fault_of_a_link_replaces_held_messages(ends: Values, fault: Values) -> None:
    held: Values = {"at_ms": 5, "for_ms": 20, "hold": {**ends, "times": "all"}}
    case = case_of(held)
    changed = [edit.applied(case.values) for edit in simplify_steps(case)]
    timelines = [timeline_of(values) for values in changed if values is not None]
    assert [{"at_ms": 5, "for_ms": 20, **fault}] in timelines


def test_a_run_ends_at_its_failure_with_two_runs() -> None:
    case = case_of(*campaigns(10), until_ms=10_000)
    assert [edit.text for edit in end_at_failure(case)] == [
        "the time after 901 ms",
        "the time after 910 ms",
    ]
    late = Case(case.trial, Outcome(is_valid=True, key="append_order"), is_violation=True)
    assert not end_at_failure(late)


def test_no_run_is_spent_on_a_slightly_earlier_end() -> None:
    case = case_of(until_ms=3829)
    ends = [edit.applied(case.values) for edit in end_earlier(case)]
    assert {values["until_ms"] for values in ends if values is not None} & {3828, 3820} == set()


def test_the_last_part_of_a_long_run_begins_early() -> None:
    case = case_of(*campaigns(100, 8000, 9500), until_ms=10_000)
    edits = only_last_part(case)
    changed = edits[0].applied(case.values)
    assert changed is not None
    assert [item["at_ms"] for item in timeline_of(changed)] == [1100]
    assert changed["until_ms"] == 1600
    assert not only_last_part(case_of(*campaigns(100), until_ms=1000))


def test_a_stopped_search_gives_the_smallest_run_until_then() -> None:
    runs: list[int] = []
    found = shrink(
        "unsynced_vote",
        progress=lambda search: runs.append(search.runs),
        stop=lambda: len(runs) > 3,
    )
    assert found.runs < 10
    assert not found.is_minimal
    assert found.cause.key == "election_safety"


def test_actions_of_one_moment_stand_beside_each_other() -> None:
    text = "name: n\ntimeline: [{at_ms: 5, do: [{write: 1}, {campaign: 2}]}]\n"
    assert "{at_ms: 5, write: {node: 1}, campaign: 2}" in parse_scenario(text).to_yaml()
    twice = "name: n\ntimeline: [{at_ms: 5, do: [{crash: 1}, {restart: 1}, {crash: 1}]}]\n"
    again = parse_scenario(twice)
    assert parse_scenario(again.to_yaml()) == again


MIXED: list[Values] = [
    {"at_ms": 3, "campaign": 1},
    {"at_ms": 9, "hold": {"to": 2}, "for_ms": 20},
    {"at_ms": 10, "campaign": 2},
    {"at_ms": 15, "hold": {"to": 3}, "for_ms": 60},
    {"at_ms": 20, "campaign": 1},
    {"at_ms": 50, "cut": {"from": 1, "to": 2}},
    {"at_ms": 81, "hold": {"to": 1}, "for_ms": 40},
    {"at_ms": 120, "campaign": 2},
]


def without_times(items: list[Values]) -> list[Values]:
    return [{key: value for key, value in item.items() if key != "at_ms"} for item in items]


def test_few_faults_of_links_stay_where_they_were() -> None:
    case = case_of(*MIXED)
    before = without_times(MIXED)
    for edit in keep_few_link_faults(case, 1):
        changed = edit.applied(case.values)
        assert changed is not None
        after = timeline_of(changed)
        moments: list[Any] = [item["at_ms"] for item in after]
        assert moments == sorted(moments)
        rest = iter(before)
        assert all(item in rest for item in without_times(after)), "the order is another"
        assert sum("campaign" in item for item in after) == 4
        assert len(after) <= 6
        assert changed["network"] == {"latency_ms": 4}


def test_each_search_of_link_faults_draws_others() -> None:
    case = case_of(*MIXED)
    first, again, other = (
        [edit.applied(case.values) for edit in keep_few_link_faults(case, number)]
        for number in (1, 1, 2)
    )
    assert first == again != other


def test_each_search_of_times_draws_others() -> None:
    case = case_of(*campaigns(10, 15, 19, 23, 60))
    first, again, other = (
        [edit.applied(case.values) for edit in drop_and_move(case, number)] for number in (1, 1, 2)
    )
    assert first == again != other


def test_no_link_fault_means_none_to_remove() -> None:
    assert not keep_few_link_faults(case_of(*campaigns(10, 15, 19)), 1)


EXPLORED: Values = {
    "name": "explored",
    "cluster": {
        "nodes": [1, 2, 3],
        "pre_vote": False,
        "check_quorum": False,
        "max_batch_bytes": 1,
        "safeguards": {"commit_own_term_only": False},
    },
    "workload": {"clients": 0},
    "timeline": MIXED,
    "until_ms": 127,
    "expect": {"may_do_nothing": True},
}


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_figure_8_of_an_exploration_needs_five_items() -> None:
    """An exploration holds and loses single messages; all but one fault of links only bring about an order."""
    found = shrink(scenario_of(EXPLORED, ""), 7)
    assert found.cause.key == "leader_completeness"
    assert len(found.scenario.timeline) <= 5, found.text
