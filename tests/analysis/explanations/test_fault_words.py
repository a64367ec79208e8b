"""Faults in words, with units."""

from __future__ import annotations

import pytest

from qcore.analysis.explanations.fault_words import fault_label, fault_name, fault_words
from qcore.sim.scenario.load import parse_scenario
from qcore.sim.scenario.specs.network_spec import NetworkSpec


@pytest.mark.parametrize(
    ("latency", "words"),
    [
        ("4", "4 ms"),
        ("[1, 5]", "1 to 5 ms"),
        ("{normal: [5, 1], max_ms: 9}", "5 ± 1 ms, at most 9 ms"),
        ("{lognormal: [5, 0.5], min_ms: 1}", "around 5 ms (log-normal, sigma 0.5), at least 1 ms"),
        ("{exponential: 6}", "6 ms on average"),
        ("{pareto: [2, 1.5]}", "from 2 ms on (heavy tail, alpha 1.5)"),
        ("{samples: [1, 2, 3]}", "as measured"),
    ],
)
def test_each_distribution_has_words(latency: str, words: str) -> None:
    scenario = parse_scenario(f"name: x\nsummary: x\nnetwork: {{latency_ms: {latency}}}\n")
    network = scenario.network
    assert isinstance(network, NetworkSpec)
    # As `NetworkFaults.change_links` notes it.
    assert fault_words(f"latency_ms {network.latency_ms}") == f"latency {words}"


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ("loss 0.3, duplicate 0.05", "30 % lost, 5 % duplicated"),
        ("reorder 0.1, corrupt 0.01", "10 % reordered, 1 % damaged"),
        ("bandwidth_bytes_per_s 20000, queue_length 10", "bandwidth 20,000 bytes/s, queues of 10 messages"),
        ("loss None", "loss as before"),
        ("latency_ms shape='new' first=1.0 second=0.0", "latency_ms shape='new' first=1.0 second=0.0"),
        ("latency_ms soon", "latency_ms soon"),
        ("offset 300.0 ms, drift 20000 ppm", "300 ms ahead, runs 20,000 ppm fast"),
        ("offset -5.5 ms, drift None ppm", "5.5 ms behind"),
        ("jump by 500 ms, -2 ms", "jumps by 500 ms and -2 ms"),
        ("4096 bytes are free", "4,096 bytes are free"),
        ("1,2 | 3,4,5", "1,2 | 3,4,5"),
        ("2 unsynced writes lost", "2 unsynced writes lost"),
    ],
)  # fmt: skip
def test_notes_in_words(note: str, words: str) -> None:
    assert fault_words(note) == words


def test_labels() -> None:
    assert fault_name("timeline[0].links[2] disk_stall") == "disk stall"
    assert (
        fault_label("timeline[0] disk_stall", "", (4,), changes_links=False) == "disk stall node 4"
    )
    assert fault_label("network", "loss 0.5", (), changes_links=True) == "50 % lost"
    assert fault_label("timeline[1] clock_jump", "jump by 5 ms", (1, 2), changes_links=False) == (
        "clock jump nodes 1,2: jumps by 5 ms"
    )
    assert (
        fault_label("timeline[2] partition", "1 | 2,3", (), changes_links=False)
        == "partition 1 | 2,3"
    )
