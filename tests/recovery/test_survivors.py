"""`judge`: whose log is taken, when nothing can be lost, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.core.entry import Membership
from qcore.recovery.clusters.survivors import Survivor, judge
from qcore.recovery.recovery_refused import RecoveryRefused


def voters(*ids: int) -> Membership:
    return Membership(voters=ids, cluster_id="north")


def survivor(
    node_id: int,
    last: tuple[int, int] = (2, 10),
    commit: int = 5,
    configurations: tuple[Membership, ...] = (voters(1, 2, 3, 4, 5),),
) -> Survivor:
    term, index = last
    path = Path(f"/data/{node_id}")
    return Survivor(path, node_id, "north", term, term, index, commit, configurations)


def test_highest_last_term_wins_before_the_index() -> None:
    found = judge([survivor(1, (2, 90)), survivor(2, (3, 20), commit=8)])
    assert (found.furthest.node_id, found.commit_index, found.term) == (2, 8, 3)
    assert found.unseen == (3, 4, 5)
    assert not found.loses_nothing
    kept, lost = found.losses()
    assert "entries 9 to 20 are kept" in kept
    assert "after entry 20 may be lost" in lost
    kept, _ = judge([survivor(1, (2, 6))]).losses()
    assert "; entry 6 is kept, too" in kept


@pytest.mark.parametrize(
    ("cluster", "present", "loses_nothing"),
    [
        (voters(1, 2), (1,), True),
        (voters(1, 2, 3, 4), (1, 2), True),
        (voters(1, 2, 3), (1,), False),
        (voters(1, 2, 3, 4, 5), (1, 2), False),
        (Membership(voters=(1, 2, 3), voters_outgoing=(1, 4)), (1,), True),
        (Membership(voters=(1, 2, 3), voters_outgoing=(1, 4, 5)), (1,), False),
    ],
)
def test_nothing_is_lost_if_every_quorum_is_present(
    cluster: Membership, present: tuple[int, ...], loses_nothing: bool
) -> None:
    found = judge([survivor(node, configurations=(cluster,)) for node in present])
    assert found.loses_nothing == loses_nothing


def test_an_older_configuration_that_may_decide_counts_too() -> None:
    found = judge([survivor(1, configurations=(voters(1, 2, 3), voters(1, 2)))])
    assert not found.loses_nothing


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(RecoveryRefused, match="are a majority"):
        judge([survivor(1), survivor(2), survivor(3)])
    with pytest.raises(RecoveryRefused, match="to south"):
        judge([survivor(1), replace(survivor(2), cluster_id="south")])
    with pytest.raises(RecoveryRefused, match="both belong to node 1"):
        judge([survivor(1), replace(survivor(1), directory=Path("/copy"))])


def test_diverged_log_is_taken_only_on_request() -> None:
    nodes = [replace(survivor(1, (3, 9)), diverged=True), survivor(2)]
    with pytest.raises(RecoveryRefused, match="--even-if-diverged"):
        judge(nodes)
    assert judge(nodes, even_if_diverged=True).furthest.node_id == 1
    assert judge([replace(nodes[0], last_term=1), nodes[1]]).furthest.node_id == 2


class Cluster:
    """A small model of Raft: elections, replication and commitment, without messages."""

    def __init__(self, size: int) -> None:
        self.logs: dict[int, list[int]] = {node: [] for node in range(1, size + 1)}
        self.terms = dict.fromkeys(self.logs, 0)
        self.leader: tuple[int, int] | None = None
        self.committed: list[int] = []
        self._next_term = 1

    def elect(self, candidate: int, others: frozenset[int]) -> None:
        def position(node: int) -> tuple[int, int]:
            log = self.logs[node]
            return (log[-1] if log else 0, len(log))

        granted = {node for node in others | {candidate} if position(node) <= position(candidate)}
        if 2 * len(granted) > len(self.logs):
            self.terms.update(dict.fromkeys(granted, self._next_term))
            self.leader = (candidate, self._next_term)
        self._next_term += 1

    def append(self) -> None:
        if self.leader is not None and self.terms[self.leader[0]] == self.leader[1]:
            self.logs[self.leader[0]].append(self.leader[1])

    def replicate(self, to: int) -> None:
        if self.leader is None or self.terms[to] > self.leader[1]:
            return
        node, term = self.leader
        if self.terms[node] != term:
            return
        self.terms[to] = term
        self.logs[to] = [*self.logs[node]]
        for end in range(len(self.logs[node]), len(self.committed), -1):
            prefix = self.logs[node][:end]
            holders = sum(log[:end] == prefix for log in self.logs.values())
            if prefix[-1] == term and 2 * holders > len(self.logs):
                assert prefix[: len(self.committed)] == self.committed, "the model is not Raft"
                self.committed = prefix
                return


@given(data=st.data())
def test_nothing_acknowledged_is_lost_if_that_is_promised(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 5))
    node_ids = st.integers(1, size)
    cluster = Cluster(size)
    for _ in range(data.draw(st.integers(0, 25))):
        match data.draw(st.sampled_from(["elect", "append", "append", "replicate", "replicate"])):
            case "elect":
                cluster.elect(data.draw(node_ids), data.draw(st.frozensets(node_ids)))
            case "append":
                cluster.append()
            case _:
                cluster.replicate(data.draw(node_ids))
    present = data.draw(st.frozensets(node_ids, min_size=1))
    configuration = voters(*cluster.logs)
    nodes = [
        survivor(node, ((log or [0])[-1], len(log)), 0, (configuration,))
        for node, log in cluster.logs.items()
        if node in present
    ]
    try:
        found = judge(nodes)
    except RecoveryRefused:
        assert 2 * len(present) > size
        return
    if found.loses_nothing:
        kept = cluster.logs[found.furthest.node_id]
        assert kept[: len(cluster.committed)] == cluster.committed
