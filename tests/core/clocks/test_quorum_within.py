"""Whether a quorum's clocks agree. If they do, a clock far from theirs is wrong."""

from __future__ import annotations

import pytest

from qcore.core.clocks.wall_time import quorum_within

THREE = [(1, 2, 3)]


@pytest.mark.parametrize(
    ("configs", "clocks", "agree"),
    [
        (THREE, {1: 0, 2: 50, 3: 900}, True),
        (THREE, {1: 900, 2: 50, 3: 0}, True),
        (THREE, {1: 0, 2: 101, 3: 900}, False),
        (THREE, {1: 0, 3: 100}, True),
        (THREE, {1: 0}, False),
        (THREE, {1: 0, 4: 0}, False),
        (THREE, {}, False),
        ([(1, 2, 3), ()], {1: 0, 2: 50}, True),
        ([(1, 2, 3), (3, 4, 5)], {1: 0, 2: 50, 3: 900, 4: 910}, False),
        ([(1, 2, 3), (3, 4, 5)], {1: 0, 2: 500, 3: 10, 4: 20}, True),
    ],
)
def test_clocks_of_a_quorum_agree(
    configs: list[tuple[int, ...]], clocks: dict[int, int], agree: bool
) -> None:
    """In a joint configuration, a quorum of each list must agree."""
    assert quorum_within(configs, clocks, bound_us=100) is agree
