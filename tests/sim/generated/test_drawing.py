"""Random times, choices and faults become ordinary items, which give the same run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.errors import ConfigError
from qcore.sim import Scenario, load_scenario, parse_scenario, run_scenario
from qcore.sim.scenario.catalogue import scenario_files
from qcore.sim.scenario.generated.random_times import bounds
from tests.checkout import CHECKOUT, SCENARIOS
from tests.sim.support.scenario_texts import run, scenario

RANDOM_FAULTS = """
name: mixed
cluster: {nodes: 3}
workload: {clients: 2, rate_per_s: 40}
timeline:
  - {at_ms: {uniform: [300, 900]}, for_ms: [50, 300], one_of: [{crash: leader}, {pause: leader, mute: random}]}
  - {after_ms: [10, 50], do: [{write: random}, {read: leader}]}
  - {at_ms: 400, crash: random, for_ms: [20, 100], every_ms: {exponential: 300}, times: 4, until_ms: 2000}
  - {when: {event: role, role: leader}, at_ms: 600, after_ms: [1, 20], isolate: event_node, for_ms: [50, 200]}
random_faults:
  from_ms: 400
  quiet_ms: 1000
  faults:
    - {loss: {draw: [0.05, 0.4]}, rate_per_s: 1, for_ms: 300}
    - {crash: {one_of: [leader, random]}, every_ms: {exponential: 600}, for_ms: {uniform: [20, 200]}}
    - when: {event: send, message: RequestVote}
      power_loss: {nodes: sender, survives: {one_of: [none, 1]}}
      for_ms: 100
      times: 2
until_ms: 3200
may_not_act: true
"""


def times_of(drawn: Scenario) -> list[object]:
    return [(item.at_ms, item.for_ms) for item in drawn.timeline]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_drawn_scenario_gives_the_same_run(seed: int) -> None:
    generator = parse_scenario(RANDOM_FAULTS)
    drawn = generator.drawn(seed)
    assert not drawn.is_random
    assert drawn.drawn(seed) is drawn
    kept = parse_scenario(drawn.to_yaml())
    assert kept.to_yaml() == drawn.to_yaml()
    assert kept.timeline == drawn.timeline
    first = run_scenario(generator, seed)
    assert first.ok, first
    assert {run_scenario(one, seed).trace_sha256 for one in (drawn, kept)} == {first.trace_sha256}


def test_a_seed_draws_the_same_in_every_process() -> None:
    program = (
        "from qcore.sim import load_scenario\n"
        "print(*(load_scenario('chaos').drawn(seed).to_yaml() for seed in range(1, 6)))"
    )
    texts = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert texts[0] == texts[1]
    chaos = load_scenario("chaos")
    assert texts[0].strip() == " ".join(chaos.drawn(seed).to_yaml() for seed in range(1, 6)).strip()


@pytest.mark.parametrize("path", scenario_files(SCENARIOS), ids=lambda path: path.stem)
def test_a_written_scenario_reads_as_an_equal_one(path: object) -> None:
    original = load_scenario(str(path))
    assert parse_scenario(original.to_yaml(), original.source) == original


_GIVEN_TIMES = st.one_of(
    st.integers(0, 500),
    st.tuples(st.integers(0, 200), st.integers(0, 300)).map(lambda pair: [pair[0], sum(pair)]),
    st.integers(0, 200).map(lambda mean: {"exponential": mean, "max_ms": 400}),
    st.integers(1, 200).map(lambda mean: {"normal": [mean, 50], "min_ms": 5, "max_ms": 450}),
)


@settings(max_examples=40, deadline=None)
@given(at=_GIVEN_TIMES, after=_GIVEN_TIMES, lasts=_GIVEN_TIMES, seed=st.integers(0, 1 << 30))
def test_drawn_times_lie_within_the_bounds_that_are_checked(
    at: object, after: object, lasts: object, seed: int
) -> None:
    items = f"[{{at_ms: {at}, crash: 1, for_ms: {lasts}}}, {{after_ms: {after}, pause: 2}}]"
    generator = scenario(items)
    drawn = generator.drawn(seed)
    for given_item, item in zip(generator.timeline, drawn.timeline, strict=True):
        for name in ("at_ms", "after_ms", "for_ms"):
            low, high = bounds(getattr(given_item, name))
            assert low <= bounds(getattr(item, name))[0] <= high
    assert drawn == generator.drawn(seed)


def test_different_seeds_draw_different_times_and_choices() -> None:
    generator = scenario(
        "[{at_ms: [100, 2000], one_of: [{crash: 1}, {pause: 2}, {wipe: {one_of: [1, 3]}}]}]"
    )
    drawn = [generator.drawn(seed).timeline[0] for seed in range(1, 40)]
    assert len({item.at_ms for item in drawn}) > 30
    assert {str(item.actions[0]) for item in drawn} == {
        str(action) for action in generator.timeline[0].possible_actions
    }


def test_drawn_numbers_keep_their_type_and_range() -> None:
    generator = scenario(
        "[{at_ms: 100, do: [{loss: {draw: [0.1, 0.4]}}, {clock: {nodes: 1, drift_ppm: {draw: [-9, 9]}}}]}]"
    )
    for seed in range(1, 20):
        text = generator.drawn(seed).to_yaml()
        drawn = parse_scenario(text).timeline[0].actions
        assert 0.1 <= drawn[0].loss <= 0.4  # type: ignore[union-attr,operator]  # a LinkChange with a loss
        assert -9 <= drawn[1].drift_ppm <= 9  # type: ignore[union-attr,operator]  # a ClockAction


def test_an_item_keeps_its_number_when_others_repeat() -> None:
    generator = scenario(
        "[{at_ms: 100, crash: 1, for_ms: [5, 20], every_ms: 200, times: 3}, {after_ms: 50, pause: 2}]"
    )
    drawn = generator.drawn(1).timeline
    assert [item.name for item in drawn] == ["crash", "pause", "crash", "crash"]
    assert [item.at_ms for item in drawn] == [100, None, 300, 500]
    assert [item.may_not_act for item in drawn] == [False, False, True, True]
    assert len({item.for_ms for item in drawn if item.name == "crash"}) == 3


def test_a_change_of_one_item_leaves_the_draws_of_others() -> None:
    def drawn(first: str) -> Scenario:
        return scenario(
            f"[{first}, {{at_ms: [100, 900], pause: 2}}, {{at_ms: [100, 900], mute: 3}}]"
        ).drawn(4)

    one = drawn("{at_ms: [100, 900], crash: 1}")
    other = drawn("{at_ms: 5, do: [{crash: 1}, {pause: {one_of: [2, 3]}}]}")
    assert times_of(one)[1:] == times_of(other)[1:]


def test_a_repetition_at_random_times_stops_in_time() -> None:
    generator = scenario("[{at_ms: 0, crash: 1, every_ms: [50, 60], until_ms: 1000, for_ms: 10}]")
    moments = [bounds(item.at_ms)[0] for item in generator.drawn(1).timeline]
    assert 16 < len(moments) <= 20
    assert max(moments) <= 1000


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ("{at_ms: {exponential: 100}, crash: 1}", "give the distribution max_ms"),
        ("{at_ms: [5, 3001], crash: 1}", "not before the end of the run"),
        ("{at_ms: [5, 300], until_ms: 200, crash: 1}", "until_ms (200) is before at_ms (300)"),
        ("{at_ms: [9, 5], crash: 1}", "upper end"),
        ("{at_ms: {sometimes: 5}, crash: 1}", "is not a distribution"),
        ("{at_ms: yes, crash: 1}", "write a number, not"),
        ("{at_ms: -1, crash: 1}", "-1 is not at least 0"),
        ("{at_ms: 1, every_ms: 0, crash: 1}", "0 is not above 0"),
        ("{at_ms: 1, one_of: [{crash: 1}, {crash: 7}]}", "node 7 is not in the cluster"),
        ("{at_ms: 1, one_of: []}", "offers no action"),
        ("{at_ms: 1, one_of: {crash: 1}}", "write a list of actions"),
        ("{at_ms: 1, one_of: [leader]}", "is not an action"),
        ("{at_ms: 1, one_of: [{crush: 1}]}", "crush: unknown key"),
        ("{at_ms: 1, for_ms: 5, one_of: [{crash: 1}, {campaign: 1}]}", "campaign has no effect"),
        ("{at_ms: 1, loss: {draw: [0.5, 1.5]}}", "1.5 is not at most 1"),
        ("{at_ms: 1, loss: {draw: [0.5]}}", "draw: [0.5]; write [low, high]"),
        ("{at_ms: 1, crash: {one_of: []}}", "write a list of the values"),
        ("{at_ms: 1, one_of: [{join: 4}, {crash: 1}]}", "no seed may choose it"),
    ],
)
def test_an_impossible_random_item_is_rejected_with_its_place(item: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=r"test\.yaml:5:") as caught:
        scenario(f"[{item}]")
    assert problem in str(caught.value)


def test_too_many_firings_are_an_error_of_the_scenario() -> None:
    generator = scenario("[{at_ms: 0, write: 1, every_ms: {uniform: [0, 1]}}]")
    with pytest.raises(ConfigError, match=r"timeline\[0\]: it would fire more than 2000 times"):
        generator.drawn(1)


@pytest.mark.parametrize(
    ("faults", "problem"),
    [
        ("[{crash: 1}]", "give every_ms"),
        ("[{at_ms: 5, every_ms: 9, crash: 1}]", "a random fault has no time"),
        ("[{rate_per_s: 0, crash: 1}]", "is not a rate"),
        ("[{rate_per_s: 1, every_ms: 5, crash: 1}]", "leave one out"),
        ("[{rate_per_s: 1, crash: {nodes: 1, settings: {priority: 2}}}]", "belong to the timeline"),
        ("[{rate_per_s: 1, crash: 9}]", "random_faults.faults[0]: node 9"),
        ("[{rate_per_s: 1, crash: 1}], from_ms: 2000", "no time is left for faults"),
        ("[{rate_per_s: 1, crash: 1}], until_ms: 2900", "ends after the run"),
    ],
)
def test_unusable_random_faults_are_rejected(faults: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=r"^<text>:\d+:\d+: ") as caught:
        parse_scenario(f"until_ms: 3000\nrandom_faults:\n  {{quiet_ms: 1000, faults: {faults}}}\n")
    assert problem in str(caught.value)


# -- may_not_act ----------------------------------------------------------------------------------

IDLE = "{at_ms: 1000, crash: 3, for_ms: 500}, {at_ms: 1200, crash: 3, for_ms: 100%s}"


def test_an_idle_fault_passes_only_if_it_may_not_act() -> None:
    assert not run(f"[{IDLE % ''}]").ok
    assert run(f"[{IDLE % ', may_not_act: true'}]").ok
    whole = parse_scenario(f"timeline: [{IDLE % ''}]\nmay_not_act: true\nuntil_ms: 2000\n")
    assert run_scenario(whole).ok


def test_a_kind_that_never_acted_is_in_the_metrics() -> None:
    idle = "{at_ms: 1300, hold: TimeoutNow, may_not_act: true}"
    metrics = run(f"[{IDLE % ', may_not_act: true'}, {idle}]").metrics
    assert metrics["idle_fault_kinds"] == ["hold"], "one crash acted, so the kind did"


# -- combinations of settings ---------------------------------------------------------------------


def test_settings_that_contradict_in_one_order_are_rejected() -> None:
    """With fixed times the second restart comes last; with random times either may."""
    timeline = (
        "[{at_ms: %s, restart: {nodes: 1, settings: {check_quorum: false}}},"
        " {at_ms: %s, restart: {nodes: 1, settings: {check_quorum: true, lease_reads: true}}}]"
    )
    cluster = "{nodes: 3, lease_reads: false}"
    scenario(timeline % (500, 900), cluster=cluster)
    for first, second in (("[500, 1000]", 900), (500, "{uniform: [400, 600]}")):
        with pytest.raises(ConfigError, match="lease_reads needs check_quorum"):
            scenario(timeline % (first, second), cluster=cluster)
