"""The trace shows the impairments that a scenario's network has from the start, with their begin and end."""

from __future__ import annotations

from qcore.analysis.tables import read_tables
from qcore.sim import run_scenario
from qcore.trace import TraceWriter
from tests.sim.support.scenario_texts import scenario

LOSSY = "{latency_ms: [1, 5], loss: 0.1, duplicate: 0.2, clients: {loss: 0.05}}"


def windows(timeline: str, network: str = LOSSY) -> list[tuple[str, int, int]]:
    """Label, begin and end (in milliseconds) of each fault."""
    trace = TraceWriter(keep=True)
    run_scenario(scenario(timeline, network=network), 1, trace=trace)
    return [
        (window.label, window.start_us // 1000, round(window.end_us / 1000))
        for window in read_tables(trace.lines()).faults
    ]


def test_a_standing_fault_lasts_until_the_timeline_ends_it() -> None:
    end = windows("[]")[0][2]
    clients = ("network.clients: 5 % lost", 0, end)
    assert windows("[]") == [("10 % lost, 20 % duplicated", 0, end), clients]
    ended = windows("[{at_ms: 2000, network: {loss: 0, duplicate: 0}}]")
    assert ended[0] == ("10 % lost, 20 % duplicated", 0, 2000)
    assert [label for label, _, _ in ended] == ["10 % lost, 20 % duplicated", clients[0]]


def test_part_of_a_standing_fault_can_end_and_return() -> None:
    found = windows("[{at_ms: 1000, network: {loss: 0}, for_ms: 500}]")
    assert [window for window in found if not window[0].startswith("network")] == [
        ("10 % lost, 20 % duplicated", 0, 1000),
        ("20 % duplicated", 1000, 1500),
        ("10 % lost, 20 % duplicated", 1500, found[-1][2]),
    ]


def test_a_change_that_makes_it_worse_is_a_separate_fault() -> None:
    found = windows("[{at_ms: 1000, loss: 0.4, for_ms: 500}]", "{loss: 0.1}")
    assert [window[:2] for window in found] == [
        ("10 % lost", 0),
        ("40 % lost", 1000),
        ("10 % lost", 1500),
    ]
    assert windows("[]", "{latency_ms: 3, links: [{from: 1, to: 2, loss: 0.5}]}")[0][:2] == (
        "network.links[0]: 50 % lost",
        0,
    )
    assert windows("[]", "{latency_ms: 3}") == []
