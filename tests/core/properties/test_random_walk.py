"""Random walks over clusters of cores (`tests.core.support.random_walk`): safety is checked at each step."""

from __future__ import annotations

import pytest

from tests.core.support.random_walk import Walk

SEEDS_A_TEST = 50


@pytest.mark.parametrize("first", range(0, 400, SEEDS_A_TEST))
def test_random_walks_are_safe_and_the_cluster_recovers(first: int) -> None:
    committed = 0
    for seed in range(first, first + SEEDS_A_TEST):
        walk = Walk(seed)
        walk.run(1500)
        walk.heal_and_check()
        committed += max(node.up.commit_index for node in walk.cluster.alive())
    assert committed > 10 * SEEDS_A_TEST  # the walks made progress


@pytest.mark.long
@pytest.mark.parametrize("first", range(1000, 21000, 500))
def test_long_random_walks_are_safe(first: int) -> None:
    for seed in range(first, first + 500):
        walk = Walk(seed)
        walk.run(4000)
        walk.heal_and_check()


def test_a_walk_is_decided_by_its_seed() -> None:
    ends = []
    for _ in range(2):
        walk = Walk(11)
        walk.run(1000)
        ends.append([node.is_up and node.core.status() for node in walk.cluster.drivers.values()])
    assert ends[0] == ends[1]
