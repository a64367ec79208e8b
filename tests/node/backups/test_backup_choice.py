"""`takes_backups`: exactly one node takes the backups, if all nodes see the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.cli.cluster.backup_checks import backup_warnings
from qcore.core.config import RaftConfig
from qcore.core.effects import Role
from qcore.core.entry import DurableState, Membership
from qcore.core.raft import RaftCore
from qcore.core.status import CoreStatus
from qcore.errors import TransportError
from qcore.node.backups.backup_choice import healthy_peers, takes_backups


def status(node_id: int, leader_id: int | None, voters: tuple[int, ...]) -> CoreStatus:
    import random

    core = RaftCore(RaftConfig(node_id), DurableState(), rng=random.Random(1), now=0)
    role: Role = "leader" if node_id == leader_id else "follower"
    return replace(
        core.status(), role=role, leader_id=leader_id, membership=Membership(voters=voters)
    )


@pytest.mark.parametrize(
    ("node_id", "leader_id", "voters", "connected", "takes"),
    [
        (1, 1, (1,), set(), True),
        (2, 1, (1, 2, 3), {1, 3}, True),
        (3, 1, (1, 2, 3), {1, 2}, False),
        (3, 1, (1, 2, 3), {1}, True),
        (1, 1, (1, 2, 3), {2}, False),
        (1, 1, (1, 2, 3), set(), True),
        (2, None, (1, 2, 3), {1, 3}, False),
        (4, 1, (1, 2, 3), {1, 2, 3}, False),
        (1, 2, (1, 2), {2}, True),
    ],
)
def test_follower_with_the_lowest_id_takes_them(
    node_id: int, leader_id: int | None, voters: tuple[int, ...], connected: set[int], takes: bool
) -> None:
    found = status(node_id, leader_id, voters)
    assert takes_backups(found, connected, diverged=False) == takes
    assert not takes_backups(found, connected, diverged=True)


def test_members_that_lag_or_differ_are_passed_over() -> None:
    assert healthy_peers({1, 2, 3, 4}, {2}, {3: 5, 4: 95_000}, 100_000) == {1, 4}


@given(data=st.data())
def test_one_node_takes_them_if_all_see_the_same(data: st.DataObject) -> None:
    voters = tuple(sorted(data.draw(st.frozensets(st.integers(1, 9), min_size=1))))
    up = data.draw(st.frozensets(st.sampled_from(voters), min_size=1))
    leader = data.draw(st.sampled_from(sorted(up)))
    takers = [
        node
        for node in up
        if takes_backups(status(node, leader, voters), up - {node}, diverged=False)
    ]
    assert takers == [min(up - {leader}, default=leader)]


def test_health_warns_of_failed_and_late_backups() -> None:
    def member(last_at: float, problem: str | None = None) -> dict[str, object]:
        backups = {"interval_s": 60, "last_at": last_at, "problem": problem}
        return {"qcore": {"backups": backups}}

    silent = TransportError("away")
    members = {"a:1": 1, "b:1": 2, "c:1": 3}
    without: dict[str, object] = {"qcore": {}}

    def warnings(*responses: object) -> list[str]:
        return backup_warnings(members, list(responses), 1000.0)  # type: ignore[arg-type]  # parts of metrics objects

    assert warnings(without, without, silent) == []
    assert warnings(member(900.0), member(0.0), silent) == []
    assert warnings(member(0.0), without, silent) == [
        "no member has written a scheduled backup yet"
    ]
    assert warnings(member(100.0, "the disk is full"), without, silent) == [
        "a:1: its last backup failed: the disk is full",
        "the newest scheduled backup is 15 minutes old: look at the log of the followers",
    ]
