"""The parts of a shrink: edits of scenarios, a timeline whose steps stand alone, and the search itself."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.sim import load_scenario, parse_scenario, run_scenario
from qcore.sim.shrinking.candidate_values import (
    Values,
    rename_nodes,
    scenario_of,
    timeline_of,
)
from qcore.sim.shrinking.edits import Case, Edit, without_items
from qcore.sim.shrinking.flat_timeline import firings_of, flatten, name_nodes
from qcore.sim.shrinking.passes.node_passes import drop_nodes
from qcore.sim.shrinking.passes.setting_passes import tidy
from qcore.sim.shrinking.passes.step_passes import drop_steps, join_steps
from qcore.sim.shrinking.passes.time_passes import end_earlier, start_earlier
from qcore.sim.shrinking.run_story import StoryEvent, with_comments
from qcore.sim.shrinking.shrink_search import RunAll, ShrinkSearch
from qcore.sim.shrinking.trial_run import Outcome, Trial
from qcore.trace import TraceWriter

FAILED = Outcome(is_valid=True, key="election_safety", failed_us=900_000)
PASSED = Outcome(is_valid=True)


def case_of(values: Values, outcome: Outcome = FAILED) -> Case:
    return Case(Trial(values, 1), outcome, outcome.is_violation)


def always(outcome: Outcome) -> RunAll:
    """Every run has this outcome."""
    return lambda trials: [outcome] * len(trials)


def campaigns(count: int) -> Values:
    items = [{"at_ms": number * 10 + 1, "campaign": 1} for number in range(count)]
    return {"cluster": {"nodes": [1, 2, 3]}, "timeline": items, "until_ms": 10_000}


def search_for(needed: set[int], count: int, jobs: int = 1, budget: int = 1000) -> ShrinkSearch:
    """A search in which a run fails if it has all of some items, by their times."""

    def run_all(trials: Sequence[Trial]) -> list[Outcome]:
        times = [{item["at_ms"] for item in timeline_of(trial.values)} for trial in trials]
        return [FAILED if {n * 10 + 1 for n in needed} <= given else PASSED for given in times]

    return ShrinkSearch(case_of(campaigns(count)), run_all, budget, jobs)


@settings(max_examples=40)
@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_exactly_the_needed_steps_are_left(found: tuple[int, set[int]]) -> None:
    count, needed = found
    search = search_for(needed, count)
    drop_steps(search)
    assert [item["at_ms"] for item in search.case.items] == [n * 10 + 1 for n in sorted(needed)]


@settings(max_examples=25)
@given(st.sets(st.integers(0, 29), max_size=4), st.integers(2, 5))
def test_more_jobs_give_the_same_result(needed: set[int], jobs: int) -> None:
    one, several = search_for(needed, 30), search_for(needed, 30, jobs)
    for search in (one, several):
        drop_steps(search)
    assert (one.case, one.runs, one.removed) == (several.case, several.runs, several.removed)


def test_the_budget_ends_a_search() -> None:
    search = search_for({3, 17}, 30, budget=5)
    drop_steps(search)
    assert search.runs == 5
    assert len(search.case.items) > 2


def test_an_edit_is_tried_with_other_seeds() -> None:
    def run_all(trials: Sequence[Trial]) -> list[Outcome]:
        return [FAILED if trial.seed == 4 else PASSED for trial in trials]

    search = ShrinkSearch(case_of(campaigns(2)), run_all, 100)
    edit = Edit("all", lambda values: without_items(values, timeline_of(values)[:]), (2, 4, 6))
    assert search.attempt([edit])
    assert (search.case.trial.seed, search.runs) == (4, 3)
    assert search.removed == ["all, with seed 4"]


def test_only_one_edit_of_a_group_is_accepted() -> None:
    search = ShrinkSearch(case_of(campaigns(2)), lambda trials: [FAILED] * len(trials), 100)
    search.attempt(end_earlier(search.case))
    assert search.case.values["until_ms"] == 901
    assert search.runs == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"at_ms": 2, "crash": 2}, None),
        ({"at_ms": 2, "crash": [2, 3]}, {"at_ms": 2, "crash": [3]}),
        ({"at_ms": 2, "crash": "leader"}, {"at_ms": 2, "crash": "leader"}),
        ({"at_ms": 2, "cut": {"from": 2, "to": 1}}, None),
        (
            {"at_ms": 2, "partition": {"groups": [[1, 2], [2]]}},
            {"at_ms": 2, "partition": {"groups": [[1]]}},
        ),
        ({"at_ms": 2, "drop": {"message": ["PreVote"], "times": 2}},) * 2,
        ({"at_ms": 2, "do": [{"crash": 1}, {"pause": 2}]}, {"at_ms": 2, "do": [{"crash": 1}]}),
        ({"when": {"event": "vote", "term": 2, "node": 2}, "crash": 1}, None),
        ({"when": {"event": "vote", "term": 2}, "crash": 1},) * 2,
    ],
)
def test_a_node_is_removed_wherever_it_is_named(before: Values, after: Values | None) -> None:
    assert rename_nodes(before, {2: None}) == after


def test_a_removed_node_leaves_a_valid_scenario() -> None:
    scenario = load_scenario("figure_8").with_(cluster={"priorities": {2: 3}})
    for edit in drop_nodes(case_of(scenario.to_dict())):
        values = edit.applied(scenario.to_dict())
        assert values is not None
        nodes = scenario_of(values, scenario.source).cluster.nodes
        assert len(nodes) < 5
        assert str(2) not in edit.text or 2 not in nodes


@pytest.mark.parametrize(
    "actions",
    [
        "crash: random, for_ms: 90",
        pytest.param("pause: minority, for_ms: 120", marks=pytest.mark.long),
        "isolate: {random: 1, of: followers}, for_ms: 150",
        "partition: [[random, leader], [rest]], for_ms: 150",
        pytest.param("partition: {bridge: random}, for_ms: 150", marks=pytest.mark.long),
        "partition: {majorities_ring: all}, for_ms: 150",
        pytest.param("partition: {ring: all}, for_ms: 150", marks=pytest.mark.long),
        pytest.param("partition: {halves: all}, for_ms: 150", marks=pytest.mark.long),
        pytest.param("cut: {from: random, to: rest}, for_ms: 90", marks=pytest.mark.long),
        "cut: {from: random, to: leader, both: true}, for_ms: 90",
        "do: [{isolate: random}, {disk_stall: {random: 2}}], for_ms: 90",
        pytest.param("crash: leader, for_ms: 90", marks=pytest.mark.long),
    ],
)
def test_firings_by_name_give_the_same_run(actions: str) -> None:
    """What a seed drew becomes node ids and moments, and the nodes and clients do not notice."""
    scenario = parse_scenario(
        "name: drawn\ncluster: {nodes: 5}\nworkload: {clients: 1, rate_per_s: 30}\nuntil_ms: 1900\n"
        f"timeline: [{{at_ms: 600, every_ms: 333, {actions}}}]\n"
    )
    writer = TraceWriter(keep=True)
    first = run_scenario(scenario, 3, trace=writer)
    edits = name_nodes(case_of(scenario.to_dict()), firings_of(writer.trace().records()))
    values = edits[0].applied(scenario.to_dict())
    assert values is not None
    assert "random" not in str(values["timeline"])
    assert "every_ms" not in str(values["timeline"])
    again = run_scenario(scenario_of(values, ""), 3)
    assert again.metrics["messages"] == first.metrics["messages"]
    assert again.metrics["operations"] == first.metrics["operations"]


def test_a_flat_timeline_has_single_actions_in_order() -> None:
    values: Values = {
        "until_ms": 1000,
        "timeline": [
            {"at_ms": 300, "do": [{"crash": 1}, {"pause": 2}]},
            {"after_ms": 100, "restart": 1},
            {"at_ms": 200, "every_ms": 250, "times": 2, "campaign": 3},
        ],
    }
    for edit in flatten(case_of(values)):
        values = edit.applied(values) or values
    assert values["timeline"] == [
        {"at_ms": 200, "campaign": 3},
        {"at_ms": 300, "crash": 1},
        {"at_ms": 300, "pause": 2},
        {"at_ms": 400, "restart": 1},
        {"at_ms": 450, "campaign": 3},
    ]


def test_a_fault_and_its_repair_become_a_duration() -> None:
    values: Values = {"timeline": [{"at_ms": 5, "crash": 1}, {"at_ms": 25, "restart": 1}]}
    (edit,) = join_steps(case_of(values))
    changed = edit.applied(values)
    assert changed == {"timeline": [{"at_ms": 5, "for_ms": 20, "crash": 1}]}


def test_waiting_is_removed_before_a_step_and_after_it() -> None:
    values = campaigns(1)
    values["timeline"] = [{"at_ms": 500, "until_ms": 800, "drop": "PreVote"}]
    changed = start_earlier(case_of(values))[0].applied(values)
    assert changed is not None
    assert changed["timeline"] == [{"at_ms": 0, "until_ms": 300, "drop": "PreVote"}]
    assert changed["until_ms"] == 9500


def test_repairs_stay_if_an_expectation_fails() -> None:
    """Without them the cluster would not recover, and the run would fail for another reason."""
    failed = Outcome(is_valid=True, key="live_within_ms")
    values = campaigns(1)
    items = [{"at_ms": 1, "crash": 1}, {"at_ms": 2, "restart": 1}, {"at_ms": 3, "repair": {}}]
    values["timeline"] = items
    search = ShrinkSearch(case_of(values, failed), lambda trials: [failed] * len(trials), 100)
    drop_steps(search)
    assert search.case.items == items[1:]


def test_another_failure_of_a_program_is_another_cause() -> None:
    """The simulator reports all that programs do wrong under one name."""
    raised = (
        "program p, client 4, at 195.9 ms: raised ExpectationFailed: 2 is not 4\n  p.py:9 in p: x"
    )
    again = "program p, client 1, at 7 ms: raised ExpectationFailed: 1 is not 3\n  p.py:9 in p: x"
    first, same, other = (
        Outcome(is_valid=True, key="client_program", text=text, failed_us=1)
        for text in (raised, again, "program p, client 1, at 5 ms: was cancelled")
    )
    assert drop_steps(ShrinkSearch(case_of(campaigns(3), first), always(same), 9))
    assert not drop_steps(ShrinkSearch(case_of(campaigns(3), first), always(other), 9))


def test_a_run_that_fails_more_expectations_is_another_failure() -> None:
    first = Outcome(is_valid=True, key="exactly_once", failed=("exactly_once",))
    idle = Outcome(is_valid=True, key="exactly_once", failed=("exactly_once", "work_done"))
    search = ShrinkSearch(case_of(campaigns(3), first), lambda trials: [idle] * len(trials), 9)
    assert not drop_steps(search)


def test_an_empty_part_is_left_out() -> None:
    values: Values = {"network": {}, "expect": {}, "timeline": [], "cluster": {"nodes": [1]}}
    search = ShrinkSearch(case_of(values), lambda trials: [FAILED] * len(trials), 9)
    search.attempt(tidy(search.case))
    assert search.case.values == {"cluster": {"nodes": [1]}}


def test_a_scenario_without_steps_shows_what_its_run_does() -> None:
    story = [StoryEvent(2.5, "node 3 votes for 5 in term 2")]
    text = with_comments("name: n\ntimeline: []\nuntil_ms: 20\n", [], story)
    assert text == (
        "name: n\ntimeline: []\n  # 2.5 ms: node 3 votes for 5 in term 2\nuntil_ms: 20\n"
    )
    assert not parse_scenario(text).timeline
