"""With a snapshot policy, the memory of a leader with a dead follower stays flat under load."""

from __future__ import annotations

import pytest

from tests.sim.support.footprint import leader_sizes


def growth(sizes: list[int]) -> float:
    """The maximum of the second half, relative to that of the first. Between snapshots the size rises and falls."""
    half = len(sizes) // 2
    return max(sizes[half:]) / max(sizes[:half])


def test_memory_stays_flat_only_with_a_snapshot_policy() -> None:
    flat = leader_sizes(12, snapshot_entries=100, rate_per_s=100)
    assert growth(flat) < 1.2, flat
    growing = leader_sizes(12, snapshot_entries=0, rate_per_s=100)
    assert growth(growing) > 1.6, growing
    assert max(growing) > 2.5 * max(flat), (
        "without the policy memory must grow, or the test shows nothing"
    )


@pytest.mark.long
def test_memory_is_flat_over_an_hour() -> None:
    sizes = leader_sizes(3600, snapshot_entries=1000, rate_per_s=50)
    assert growth(sizes) < 1.1, sizes
