"""Values of faults that no run could use: each is an error with its place, in keys that the file has."""

from __future__ import annotations

from random import Random

import pytest

from qcore.errors import ConfigError
from qcore.sim import parse_scenario
from qcore.sim.scenario.distributions import Distribution

REJECTED = [
    ("network: {latency_ms: -1}", "network.latency_ms: fixed: -1 is not at least 0"),
    ("network: {latency_ms: {exponential: -1}}", "network.latency_ms.exponential: -1 is not"),
    ("network: {latency_ms: {lognormal: [1e308, 500]}}", "network.latency_ms.lognormal: 1e+308"),
    ("network: {latency_ms: {lognormal: [5, 500]}}", "needs a sigma up to 20, not 500"),
    ("network: {latency_ms: {pareto: [1e308, 0.1]}}", "network.latency_ms.pareto: 1e+308"),
    ("network: {latency_ms: {samples: [1, -3]}}", "network.latency_ms.samples: -3 is not"),
    ("network: {latency_ms: {uniform: [a, 3]}}", 'latency_ms.uniform: write a number, not "a"'),
    ("network: {latency_ms: {fixed: true}}", "latency_ms.fixed: write a number, not true"),
    ("random_faults: {quiet_ms: 10000, faults: [{crash: 1, every_ms: 9}]}", ".quiet_ms: the quiet"),
    ("swarm: {quiet_ms: 99999}", "swarm.quiet_ms: the quiet phase of 99999 ms leaves no time"),
]
REJECTED_ACTIONS = [
    ("power_loss: {nodes: 1, survives: -1}", "timeline[0].power_loss.survives: -1 is not at least"),
    ("power_loss: {nodes: 1, survives: all, torn: true}", "no write is left that could be torn"),
    ("bit_rot: {nodes: 1, entry: 0}", "timeline[0].bit_rot.entry: 0 is not at least 1"),
    ("disk_error: {nodes: 1, times: 0}", "timeline[0].disk_error.times: 0 is not at least 1"),
    (
        "slow_cpu: {nodes: 1, factor: 1e300}",
        "timeline[0].slow_cpu: factor: 1e+300 is not at most 1e+09",
    ),
    ("clock: {nodes: 1, drift_ppm: -1000000}", "drift_ppm: -1000000 is not above -1000000"),
]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        *REJECTED,
        *((f"timeline:\n  - {{at_ms: 1, {text}}}", error) for text, error in REJECTED_ACTIONS),
    ],
)
def test_an_unusable_value_of_a_fault_names_its_key(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_scenario(text, "f.yaml")
    assert str(caught.value).startswith("f.yaml:")
    assert error in str(caught.value)


def test_a_wrong_item_is_the_only_error_of_its_list() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_scenario("random_faults: {faults: [{crash: 1}]}", "f.yaml")
    assert str(caught.value).startswith("f.yaml:1:26: random_faults.faults[0]: give every_ms")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", ["normal", "lognormal", "exponential", "pareto"])
def test_every_draw_of_extreme_parameters_is_finite(shape: str) -> None:
    second = {"lognormal": 20.0, "pareto": 0.1}.get(shape, 1e11)
    spec = Distribution.model_validate({"shape": shape, "first": 1e11, "second": second})
    draw = spec.sampler(Random(1))
    assert all(0 <= draw() <= 10**14 for _ in range(2000))
