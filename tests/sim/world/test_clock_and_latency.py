"""Clocks that drift and jump, and distributions of durations."""

from __future__ import annotations

from pathlib import Path
from random import Random
from statistics import mean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from qcore.errors import ConfigError
from qcore.sim import load_scenario
from qcore.sim.scenario.distributions import LatencySpec, fixed, uniform
from qcore.sim.world.node.node_clock import WALL_EPOCH_US, NodeClock

DRIFTS = st.integers(-900_000, 5_000_000)
TIMES = st.integers(0, 10**12)


@given(DRIFTS, st.integers(0, 10**9), TIMES)
def test_true_at_is_the_first_moment_that_shows_the_time(
    drift: int, base: int, true_us: int
) -> None:
    clock = NodeClock(base, drift)
    local = clock.local(true_us)
    first = clock.true_at(local)
    assert first <= true_us
    assert clock.local(first) >= local
    assert clock.local(first - 1) < local


@given(DRIFTS, DRIFTS, TIMES)
def test_a_new_drift_neither_jumps_nor_turns_the_clock_back(
    before: int, after: int, true_us: int
) -> None:
    clock = NodeClock(7, before)
    shown = clock.local(true_us)
    clock.set_drift(true_us, after)
    assert clock.local(true_us) == shown
    assert clock.local(true_us + 1000) >= shown


def test_drift_moves_both_clocks_and_a_jump_only_the_wall_clock() -> None:
    clock = NodeClock(500, drift_ppm=100_000)
    assert clock.local(1_000_000) == 500 + 1_100_000
    assert clock.wall_of(clock.local(1_000_000)) == WALL_EPOCH_US + 1_100_000
    clock.wall_offset_us = -3_600_000_000
    assert clock.wall_of(clock.local(1_000_000)) == WALL_EPOCH_US + 1_100_000 - 3_600_000_000
    assert clock.local(1_000_000) == 500 + 1_100_000, (
        "a jump of the wall clock must not move deadlines"
    )


class Holder(BaseModel):
    latency: LatencySpec


def draws(spec: object, count: int = 4000) -> list[int]:
    sample = Holder.model_validate({"latency": spec}).latency.sampler(Random(3))
    return [sample() for _ in range(count)]


def test_each_distribution_has_its_shape() -> None:
    assert set(draws(5)) == set(draws({"fixed": 5})) == set(draws({"constant": 5})) == {5000}
    flat = draws([1, 5])
    assert min(flat) >= 1000
    assert max(flat) <= 5000
    assert 2900 < mean(flat) < 3100
    assert flat == draws({"uniform": [1, 5]}) == draws({"uniform": {"min": 1, "max": 5}})
    assert 9800 < mean(draws({"normal": [10, 2]})) < 10_200
    assert 9500 < median(draws({"lognormal": [10, 0.5]})) < 10_500
    assert 9400 < mean(draws({"exponential": 10})) < 10_600
    assert min(draws({"normal": [1, 5]})) == 0, "a duration is never negative"
    limited = draws({"exponential": 10, "min_ms": 5, "max_ms": 20})
    assert (min(limited), max(limited)) == (5000, 20_000)


def test_a_pareto_tail_falls_with_the_power_alpha() -> None:
    times = draws({"pareto": [2, 1.5]}, 20_000)
    assert min(times) >= 2000
    for factor in (2, 10):
        share = sum(time > 2000 * factor for time in times) / len(times)
        assert 0.85 * factor**-1.5 < share < 1.15 * factor**-1.5
    assert times[:4000] == draws({"pareto": {"min": 2, "alpha": 1.5}})
    assert max(draws({"pareto": [2, 0.1], "max_ms": 900})) == 900_000


def test_samples_are_drawn_as_often_as_their_weights_say() -> None:
    equal = draws({"samples": [1, 2.5, 90]})
    assert {*equal} == {1000, 2500, 90_000}
    assert all(1200 < equal.count(value) < 1470 for value in (1000, 2500, 90_000))
    weighted = draws({"samples": [1, 2, 90], "weights": [89, 10, 1]})
    counts = [weighted.count(value) for value in (1000, 2000, 90_000)]
    assert 3440 < counts[0] < 3680
    assert 20 < counts[2] < 65
    assert {*draws({"samples": [1, 2, 3], "weights": [0, 1, 0]})} == {2000}


def test_samples_may_stand_in_a_file_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "measured.txt").write_text("# milliseconds\n3\n\n4.5 # slow\n90\n")
    file = tmp_path / "lab.yaml"
    file.write_text("network: {latency_ms: {samples: measured.txt}}\n")
    assert load_scenario(file).network.latency_ms.samples == (3.0, 4.5, 90.0)
    (tmp_path / "measured.txt").write_text("3\nfast\n")
    with pytest.raises(ConfigError, match=r"measured\.txt:2: 'fast' is no number"):
        load_scenario(file)
    (tmp_path / "measured.txt").unlink()
    with pytest.raises(
        ConfigError,
        match=r"1:24: .*cannot read measured\.txt: No such file",
    ):
        load_scenario(file)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"samples": []}, "at least one value"),
        ({"samples": 5}, "give a list of milliseconds, or the name of a file"),
        ({"samples": [1, -2]}, "is not at least 0"),
        ({"samples": [1, 2], "weights": [1]}, "one for each of the 2 samples"),
        ({"samples": [1, 2], "weights": [0, 0]}, "at least one of them above 0"),
        ({"pareto": 3}, "two numbers"),
        ({"pareto": [0, 1]}, "a minimum above 0"),
        ({"pareto": [1, 0]}, "an alpha from 0.1 to 100"),
        ("fast", "not a distribution"),
        (True, "not a distribution"),
        ([5, 1], "below the lower"),
        ([1, 2, 3], "not a distribution"),
        ({"uniform": [1]}, "two numbers"),
        ({"exponential": [1, 2]}, "one number"),
        ({"normal": {"mean": 1}}, "normal takes mean, deviation"),
        ({"uniform": [1, 5], "fixed": 3}, "not a distribution"),
        ({"uniform": [1, 5], "colour": 3}, "colour"),
        (-1, "is not at least 0"),
    ],
)
def test_a_bad_distribution_is_rejected(spec: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Holder.model_validate({"latency": spec})


def test_the_shortcuts_reject_negative_durations() -> None:
    with pytest.raises(ValidationError, match="is not at least 0"):
        fixed(-1)
    with pytest.raises(ValidationError, match="is below the lower"):
        uniform(5, 1)
