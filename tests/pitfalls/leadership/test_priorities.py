"""Leaders do not transfer leadership again and again to a preferred node that cannot win or keep it."""

from __future__ import annotations

import pytest

from qcore.core import Membership, RaftConfig
from qcore.core.events import TransferLeadership
from qcore.core.leadership import election, takeover, transfer
from qcore.core.leadership.transfer_backoff import TransferBackoff
from qcore.core.messages import PreVote, TimeoutNow, TimeoutNowResponse
from qcore.core.raft_server import RaftServer
from qcore.sim import parse_scenario, run_scenario
from tests.checkout import SCENARIOS
from tests.driver.cores import CoreCluster
from tests.driver.first_state import begun
from tests.pitfalls.support.cluster_steps import is_served, lead, may_lead

#: In each of these, 0.1.0 moves the leadership again and again.
SHIPPED = (
    "priority_star",
    "priority_slow_disk",
    "priority_one_down_one_cut",
    "priority_pendant",
)


def failed(name: str) -> set[str]:
    """The expectations that a shipped scenario misses; its cluster stays safe in any case."""
    result = run_scenario(SCENARIOS / f"{name}.yaml", 3)
    assert not result.violations
    return {expectation.name for expectation in result.failed()}


def changes(timeline: str, *, nodes: int = 5, seed: int = 1, until_ms: int = 20_000) -> int:
    """How often the leader changes in a cluster that prefers node 2 and has elected node 1 first."""
    result = run_scenario(
        parse_scenario(
            f"""
name: preferred
summary: Node 2 is preferred.
cluster: {{nodes: {nodes}, priorities: {{2: 5}}}}
timeline: [{{at_ms: 50, campaign: 1}}, {timeline}]
until_ms: {until_ms}
"""
        ),
        seed,
    )
    assert not result.violations
    counted = result.metrics["leader_changes"]
    assert isinstance(counted, int)
    return counted


def campaign_immediately(server: RaftServer, from_id: int, request: TimeoutNow) -> None:
    """As a transfer target did in 0.1.0."""
    if request.term == server.term and server.leader_id == from_id:
        server.send(from_id, TimeoutNowResponse(server.term, accepted=True))
        election.campaign(server, transfer=True)


# -- can it win? -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_preferred_node_that_cannot_lead_deposes_no_leader(name: str) -> None:
    assert failed(name) == set()


@pytest.mark.parametrize("name", ["priority_star", "priority_one_down_one_cut", "priority_pendant"])
def test_without_pre_vote_transfer_target_deposes_the_leader(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory of failures makes this rarer, but the first attempt still costs an election."""
    monkeypatch.setattr(takeover, "on_timeout_now", campaign_immediately)
    assert "max_leader_changes" in failed(name)


def test_without_pre_vote_and_memory_targets_keep_deposing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    star = "{at_ms: 200, partition: [[1, 2], [1, 3], [1, 4], [1, 5]]}"
    assert changes(star) == 0
    monkeypatch.setattr(takeover, "on_timeout_now", campaign_immediately)
    monkeypatch.setattr(TransferBackoff, "allows_transfer_to", lambda _memory, _target, _now: True)
    assert changes(star) > 20


HEALTHY = "{at_ms: 1500, write: leader}"


def test_healthy_preferred_node_takes_over_once() -> None:
    assert changes(HEALTHY) == 1


def test_without_transfer_consent_target_never_takes_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(election, "agrees_to_transfer", lambda _server, _request: False)
    assert changes(HEALTHY) == 0


# -- can it stay? ----------------------------------------------------------------------------------

#: Node 2 reaches a bare majority, node 1 reaches all nodes. Then a node of that majority crashes.
BARE_MAJORITY = (
    "{at_ms: 200, cut: [2, 4]}, {at_ms: 200, cut: [2, 5]}, {at_ms: 4000, crash: 3}, "
    "{at_ms: 9000, restart: 3}"
)


def test_transfer_target_must_reach_the_leaders_peers() -> None:
    assert changes(BARE_MAJORITY) == 0


def test_without_reach_check_first_crash_ends_leadership(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfer, "_reached", lambda server: (server.node_id,))
    assert changes(BARE_MAJORITY) >= 2


def test_without_disk_check_next_stall_ends_leadership(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(takeover, "has_fast_disk", lambda _server: True)
    assert "max_leader_changes" in failed("priority_slow_disk")


#: Node 2 is up long enough to catch up, but not long enough to be a useful leader.
CRASH_LOOP = "{at_ms: 200, every_ms: 2500, until_ms: 18000, crash: 2, for_ms: 500}"


def test_node_that_keeps_crashing_does_not_take_over() -> None:
    assert changes(CRASH_LOOP, nodes=3) == 0


def test_without_steadiness_check_crashing_node_takes_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfer, "_is_steady", lambda _server, _progress: True)
    assert changes(CRASH_LOOP, nodes=3) >= 2


# -- failures are remembered -------------------------------------------------------------------------

#: Node 2 leads each time it is cut off. In between it looks healthy for longer than `STEADY_TIMEOUTS`.
CUT_OFF_AGAIN = "{at_ms: 3000, every_ms: 9000, until_ms: 59000, isolate: 2, for_ms: 1000}"


def test_short_lived_leader_waits_before_it_takes_over_again() -> None:
    """Node 2 gains and loses leadership, and again much later: four changes."""
    assert changes(CUT_OFF_AGAIN, until_ms=60_000) <= 4


def test_without_memory_across_terms_it_always_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TransferBackoff, "allows_transfer_to", lambda _memory, _target, _now: True)
    assert changes(CUT_OFF_AGAIN, until_ms=60_000) >= 10


def test_without_follower_memory_short_lived_leader_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Servers that did not lead remember a failure of an earlier term."""

    def forget(memory: TransferBackoff, now: int, *, by_transfer: bool) -> None:
        del now, by_transfer
        memory._failures.clear()
        memory._tenure = None

    monkeypatch.setattr(TransferBackoff, "on_term_ended", forget)
    assert changes(CUT_OFF_AGAIN, until_ms=60_000) >= 10


# -- the lease ---------------------------------------------------------------------------------------


def a_transfer_whose_target_lags(*, ask: bool) -> bool:
    """The target is cut off and lacks an entry. With `ask` it catches up, is asked to campaign, and cannot win.

    Returns:
        whether the leader still serves a lease read after the transfer.
    """
    three = Membership(voters=(1, 2, 3))
    cluster = CoreCluster(
        {node: begun(three, 2) for node in (1, 2, 3)}, RaftConfig(1, lease_reads=True)
    )
    lead(cluster, 1)
    cluster.isolate(2)
    if not ask:
        cluster.propose(1, "not on 2")
        cluster.settle()
    cluster.step(1, TransferLeadership(2))
    cluster.settle()
    while cluster.core(1).transferring:
        cluster.timeout(1)
        cluster.settle()
    for _ in range(2):
        cluster.timeout(1)
        cluster.settle()
    assert cluster.core(1).role == "leader"
    read_id = cluster.read(1, lease=True)
    return is_served(cluster, 1, read_id)


START = transfer._start


def void_the_lease_immediately(
    server: RaftServer, target: int, *, by_priority: bool, may_retarget: bool = False
) -> None:
    """As in 0.1.0."""
    server.lease_void = True
    START(server, target, by_priority=by_priority, may_retarget=may_retarget)


def test_transfer_that_asked_no_target_keeps_the_lease() -> None:
    assert a_transfer_whose_target_lags(ask=False)
    assert not a_transfer_whose_target_lags(ask=True), (
        "the request to campaign may arrive at any later time"
    )


def test_without_delay_until_asked_the_lease_ends_too_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfer, "_start", void_the_lease_immediately)
    assert not a_transfer_whose_target_lags(ask=False)


def test_transfer_flags_are_not_sent_below_rules_2() -> None:
    """0.1.0 rejects messages with unknown fields, so a mixed cluster transfers as 0.1.0 did."""
    cluster = CoreCluster.of(3, RaftConfig(1))
    assert may_lead(cluster, 1)
    cluster.step(1, TransferLeadership(2))
    sent: list[object] = []
    while cluster.network:
        sent.append(cluster.network.messages[0].message)
        cluster.deliver()
        for node in cluster.alive():
            cluster.persist(node.node_id)
    assert not [message for message in sent if isinstance(message, PreVote)]
    assert [m.must_reach for m in sent if isinstance(m, TimeoutNow)] == [()]
    assert cluster.core(2).role == "leader"
