"""Keys on simulated computers: a node that lags behind accepts a new leader that its members vouch for."""

from __future__ import annotations

import pytest

from qcore.node.peers.peer_keys import PeerKeys
from qcore.sim import World, parse_scenario

#: Node 3 sleeps while node 4 joins and becomes the leader. Only node 4 can bring it up to date.
SCENARIO = """
name: vouchers
fidelity: node
cluster: {nodes: 3}
timeline:
  - {at_ms: 500, campaign: 1}
  - {at_ms: 1500, crash: 3}
  - {at_ms: 2000, join: 4}
  - {at_ms: 2200, add_learner: {node: 4, outcome: ok}}
  - {at_ms: 5000, change_members: {add: [4], outcome: ok}}
  - {at_ms: 8000, transfer: {to: 4, outcome: ok}}
  - {at_ms: 11000, restart: 3}
until_ms: 14000
"""


def members_that_3_knows() -> tuple[int, ...]:
    world = World(parse_scenario(SCENARIO), 1)
    world.run()
    nodes = world.nodes
    assert nodes[4].replica is not None
    assert nodes[4].replica.core.role == "leader"
    assert nodes[3].replica is not None
    return nodes[3].replica.core.membership.members()


def test_a_lagging_member_accepts_a_vouched_leader() -> None:
    assert members_that_3_knows() == (1, 2, 3, 4)


@pytest.mark.long
def test_without_vouchers_a_lagging_member_stays_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard of the test above: nothing else lets node 3 know the key of node 4."""
    monkeypatch.setattr(PeerKeys, "_voucher_for", lambda *_arguments: "")
    assert members_that_3_knows() == (1, 2, 3)
