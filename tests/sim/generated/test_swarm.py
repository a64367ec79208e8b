"""Swarms: what seeds draw, what they never draw, and that every kind of the catalogue acts."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.potency.planted_faults import PLANTED_FAULTS
from qcore.errors import ConfigError
from qcore.sim import Scenario, load_scenario, parse_scenario, run_scenario
from qcore.sim.scenario.actions.node_actions import PowerLoss, Wipe
from qcore.sim.scenario.generated.swarm_kinds import DEFAULT_KINDS, SWARM_KINDS
from qcore.sim.scenario.timeline import Item
from tests.sim.support.scenario_texts import failures


def swarm(text: str, nodes: int = 5, until_ms: int = 4500) -> Scenario:
    return parse_scenario(
        f"cluster: {{nodes: {nodes}, snapshot_entries: 40, keep_entries: 10}}\n"
        f"workload: {{clients: 2, rate_per_s: 60}}\nswarm: {text}\nuntil_ms: {until_ms}\n"
    )


def kinds_of(items: tuple[Item, ...]) -> frozenset[str]:
    return frozenset(action.kind for item in items for action in item.actions)


def test_seeds_draw_different_subsets_of_the_kinds() -> None:
    generator = swarm("true", until_ms=12_000)
    drawn = [generator.drawn(seed).timeline for seed in range(1, 13)]
    assert len({kinds_of(items) for items in drawn}) == 12
    sizes = [len(kinds_of(items)) for items in drawn]
    assert max(sizes) - min(sizes) > 5


def test_drawn_faults_come_in_order_and_end_with_the_repair() -> None:
    for seed in range(1, 11):
        *faults, repair = swarm("{from_ms: 700, quiet_ms: 1500}").drawn(seed).timeline
        moments = [float(str(item.at_ms)) for item in faults]
        assert all(a <= b for a, b in pairwise(moments))
        assert moments[0] >= 700
        assert repair.at_ms == 3000
        assert [action.kind for action in repair.actions] == ["repair"]
        assert all(item.may_not_act for item in faults)


@pytest.mark.parametrize("kind", SWARM_KINDS)
def test_every_kind_acts_and_the_cluster_recovers(kind: str) -> None:
    """Within a few seeds, because the faults of one seed may find nothing to do."""
    generator = swarm(f"{{kinds: {kind}, quiet_ms: 2000, intensity: 2}}")
    for seed in range(1, 9):
        result = run_scenario(generator, seed)
        assert result.ok, (seed, failures(result))
        idle = result.metrics["idle_fault_kinds"]
        assert isinstance(idle, list)
        if not {*idle} - {"repair", "restart"}:
            return
    raise AssertionError(f"{kind} never acted")


def test_a_kind_in_the_catalogue_leaves_the_others_as_they_are() -> None:
    alone = swarm("{kinds: crash, probability: 1}").drawn(3).timeline
    both = swarm("{kinds: [crash, pause, wipe], probability: 1}").drawn(3).timeline
    assert [item for item in both if kinds_of((item,)) == {"crash"}] == list(alone[:-1])
    assert kinds_of(both) > {"crash", "pause"}


def test_only_a_minority_loses_its_disk() -> None:
    wiped = 0
    for seed in range(1, 13):
        items = swarm("{probability: 0.9}", until_ms=6_000).drawn(seed).timeline
        wipes = [a for item in items for a in item.actions if isinstance(a, Wipe)]
        assert len(wipes) <= 2, "one by `wipe`, one by `bit_rot`"
        wiped += len(wipes)
        small = swarm("{probability: 0.9}", nodes=3, until_ms=6_000).drawn(seed).timeline
        assert not kinds_of(small) & {"wipe", "bit_rot"}
    assert wiped > 5


def test_a_swarm_without_probability_still_has_a_fault() -> None:
    for seed in range(1, 20):
        assert len(swarm("{probability: 0}").drawn(seed).timeline) > 1


def test_a_swarm_without_kinds_draws_only_the_default_ones() -> None:
    """So the seeds of a scenario draw the same faults as before a kind was added."""
    every = swarm("{probability: 1}", until_ms=12_000).drawn(1).timeline
    named = swarm(f"{{probability: 1, kinds: [{', '.join(DEFAULT_KINDS)}]}}", until_ms=12_000)
    assert every == named.drawn(1).timeline
    assert "change_members" not in kinds_of(every)
    assert {*SWARM_KINDS} - {*DEFAULT_KINDS} >= {"shrink", "split"}


def test_a_kind_that_is_left_out_is_never_drawn() -> None:
    for seed in range(1, 20):
        items = swarm("{probability: 1, without: [power_loss, power_loss_of_all]}").drawn(seed)
        assert not any(isinstance(a, PowerLoss) for item in items.timeline for a in item.actions)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{kinds: crush}", "no kind is called 'crush'; there are crash,"),
        ("{kinds: crash, without: crash}", "no kind is left"),
        ("{probability: 2}", "2 is not at most 1"),
        ("{strength: 2}", "unknown key"),
        ("{quiet_ms: 4200}", "no time is left for faults"),
        ("maybe", "write a map of keys, not"),
    ],
)
def test_an_unusable_swarm_is_rejected(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=r"^<text>:3:") as caught:
        swarm(text)
    assert problem in str(caught.value)


def test_a_planted_bug_that_the_swarm_finds_needs_the_swarm() -> None:
    """Votes that are given twice do no harm without faults: there is one election."""
    chaos = PLANTED_FAULTS["one_vote_per_term"].scenario(load_scenario("chaos"))
    quiet = chaos.model_copy(update={"swarm": None, "until_ms": 4000.0})
    assert run_scenario(quiet, 1).ok
    caught = {v.check for seed in (1, 2) for v in run_scenario(chaos, seed).violations}
    assert "election_safety" in caught
