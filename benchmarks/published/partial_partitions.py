"""Partial partitions: what Raft does while they last, with and without PreVote and CheckQuorum."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.percentiles import percentile
from qcore.sim import Scenario, World, load_scenario
from qcore.sim.verdict.availability import availability_of

#: Scenario -> what was published without and with PreVote and CheckQuorum (Omni-Paxos; "Raft does not guarantee
#: liveness in the face of network faults").
PUBLISHED = {
    "quorum_loss": ("recovers late or by luck", "recovers"),
    "constrained_election": ("stalls until heal", "stalls until heal"),
    "chained_3": ("livelock", "stable"),
    "connected_core": ("never settles", "settles"),
}


@dataclass(slots=True)
class Seen:
    """What happened in one run between the partition and its end; times in ms."""

    leader_changes: int
    terms: int
    available: float
    longest_gap_ms: float


def observe(scenario: Scenario, seed: int, window_ms: tuple[float, float]) -> Seen:
    """Run one seed. `available`: the share of the window that was in no window of unavailability."""
    world = World(scenario, seed)
    world.run()
    result = world.result()
    assert not result.violations, result.violations
    record = world.services.monitor.record
    begin, end = window_ms
    gaps = [
        min(high / 1000, end) - max(low / 1000, begin)
        for low, high in availability_of(world).windows
        if high / 1000 > begin and low / 1000 < end
    ]
    return Seen(
        leader_changes=len(record.leaders) - 1,
        terms=record.highest_term,
        available=1 - sum(gaps) / (end - begin),
        longest_gap_ms=max(gaps, default=0.0),
    )


def window_of(scenario: Scenario) -> tuple[float, float]:
    """From the last partition to the heal."""
    times = [item.at_ms for item in scenario.timeline if isinstance(item.at_ms, int | float)]
    return times[-2], times[-1]


def print_table(seeds: int) -> None:
    """Print what was published beside what happened here."""
    print(
        f"\npartial partitions, {seeds} seeds each; while the partition lasts: share of the time in which writes "
        "succeed, longest gap (median, worst); over the run: leader changes and highest term (medians)"
    )
    for name, published in PUBLISHED.items():
        scenario = load_scenario(name)
        for guarded, words in zip((False, True), published, strict=True):
            variant = scenario.with_({"cluster.pre_vote": guarded, "cluster.check_quorum": guarded})
            runs = [observe(variant, seed, window_of(scenario)) for seed in range(1, seeds + 1)]
            gaps = sorted(run.longest_gap_ms for run in runs)
            print(
                f"  {name:21} {'with   ' if guarded else 'without'} published: {words:25} "
                f"available {100 * sum(run.available for run in runs) / len(runs):5.1f} %  "
                f"gap {percentile(gaps, 50):5.0f} {gaps[-1]:5.0f} ms  "
                f"changes {percentile(sorted(run.leader_changes for run in runs), 50):3}  "
                f"term {percentile(sorted(run.terms for run in runs), 50):3}"
            )
