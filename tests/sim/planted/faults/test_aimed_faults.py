"""Planted faults that only an aimed fault brings to light: the same disturbance elsewhere lets the run pass."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from qcore.core.leadership import election
from qcore.core.messages import RequestVote
from qcore.core.raft_server import RaftServer
from qcore.sim import RunResult, parse_scenario, run_scenario
from tests.sim.support.scenario_texts import failures


@dataclass(frozen=True, slots=True)
class AimedFault:
    """A scenario with `%s` for the fault.

    Attributes:
        aimed: the fault that brings the planted fault to light.
        elsewhere: the same disturbance without the aim.
        check: what catches it.
    """

    text: str
    aimed: str
    elsewhere: str
    check: str


#: A response is sent before its entry is synced. A follower that acknowledged loses it, and the leader counts it.
EARLY_ACKNOWLEDGEMENT = AimedFault(
    """
cluster:
  nodes: 3
  safeguards: {append_durable_before_ack: false}
  disk: {latency_ms: 20}
network: {latency_ms: 3}
workload: {clients: 0}
timeline:
  - {at_ms: 1500, write: {node: leader, key: x, value: 1}}
  - {%s, for_ms: 100}
  - {when: {event: commit, node: leader, index: 4}, power_loss: event_node}
until_ms: 4000
may_not_act: true
""",
    aimed="when: {event: send, message: AppendEntriesResponse, from: followers, to: leader}, at_ms: 1501, times: 2, "
    "power_loss: sender",
    elsewhere="at_ms: 1400, power_loss: followers",
    check="leader_completeness",
)

#: A vote is sent before it is synced. The voter forgets it and votes again in the same term.
EARLY_VOTE = AimedFault(
    """
cluster:
  nodes: 3
  election_timeout_ms: [3000, 3500]
  pre_vote: false
  check_quorum: false
  safeguards: {vote_durable_before_reply: false}
  disk: {latency_ms: 8}
network: {latency_ms: 5}
workload: {clients: 0}
timeline:
  - {at_ms: 10, cut: [1, 2]}
  - {at_ms: 100, campaign: 1}
  - {%s, for_ms: 3}
  - {when: {event: role, role: leader, node: 1}, isolate: 1}
  - {at_ms: 200, campaign: 2}
until_ms: 1000
may_not_act: true
expect: {may_do_nothing: true}
""",
    aimed="when: {event: send, message: RequestVoteResponse, to: candidates}, power_loss: sender",
    elsewhere="at_ms: 150, power_loss: 3",
    check="election_safety",
)

#: Voters do not keep their promise to a lease. The holder of the lease serves reads while another node leads.
BROKEN_PROMISE = AimedFault(
    """
cluster: {nodes: 3, election_timeout_ms: [600, 700], heartbeat_ms: 50, lease_reads: true, pre_vote: false}
network: {latency_ms: 2}
workload: {clients: 0}
timeline:
  - {at_ms: 2000, write: {node: leader, key: x, value: 1, outcome: ok}}
  - {at_ms: 2100, cut: [leader, rest]}
  - {at_ms: 2101, campaign: follower_1}
  - {at_ms: 2150, write: {node: leader, key: x, value: 2}}
  - {at_ms: 2200, read: {node: %s, key: x, read_kind: lease_read}}
  - {at_ms: 2201, heal: all}
until_ms: 5000
may_not_act: true
""",
    aimed="lease_holder",
    elsewhere="leader",
    check="linearizability",
)


def judged(fault: AimedFault, disturbance: str) -> RunResult:
    return run_scenario(parse_scenario(fault.text % disturbance), 1)


def break_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    vote = election.on_request_vote

    def votes_in_spite_of_a_promise(server: RaftServer, from_id: int, request: RequestVote) -> None:
        server.no_vote_before = 0
        vote(server, from_id, request)

    monkeypatch.setattr(election, "is_bound_by_lease", lambda _server: False)
    monkeypatch.setattr(election, "hears_live_leader", lambda _server: False)
    monkeypatch.setattr(election, "on_request_vote", votes_in_spite_of_a_promise)


@pytest.mark.parametrize("fault", [EARLY_ACKNOWLEDGEMENT, EARLY_VOTE], ids=["append", "vote"])
def test_a_fault_at_a_message_finds_what_was_not_durable(fault: AimedFault) -> None:
    passed = judged(fault, fault.elsewhere)
    assert passed.ok, failures(passed)
    assert fault.check in {violation.check for violation in judged(fault, fault.aimed).violations}


def test_a_read_at_the_holder_of_a_lease_finds_broken_promises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = judged(BROKEN_PROMISE, BROKEN_PROMISE.aimed)
    assert honest.ok, failures(honest)
    break_promises(monkeypatch)
    passed = judged(BROKEN_PROMISE, BROKEN_PROMISE.elsewhere)
    assert passed.ok, failures(passed)
    caught = judged(BROKEN_PROMISE, BROKEN_PROMISE.aimed)
    assert [violation.check for violation in caught.violations] == [BROKEN_PROMISE.check]
