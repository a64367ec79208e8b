"""`Init` with public keys: a wrong one begins no cluster; below apply rules 5 there are none."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from qcore.core.version import KEYS_SINCE_RULES
from qcore.errors import ConfigError, Refused
from qcore.node.node import Node
from qcore.node.peers.peer_keys import OTHER_FOUNDER_KEY
from qcore.replica.peers.identity import PeerHello
from qcore.security.keys.node_key import NodeKey
from tests.node.api.test_init import SUPPORT, answered
from tests.node.embedded.embedded_nodes import PATIENT_MS, config_of
from tests.process.support.commands import run_here
from tests.transport.support.endpoints import async_test

WRONG = NodeKey(bytes(32)).public


@async_test
async def test_a_wrong_key_of_a_founder_begins_no_cluster(tmp_path: Path) -> None:
    one, two = config_of(1, tmp_path, PATIENT_MS), config_of(2, tmp_path, PATIENT_MS)
    async with Node(one) as first, Node(two) as second:
        members = [(1, first.address), (2, second.address)]
        client = first.client
        for number in (1, 2):
            with pytest.raises(Refused, match="Nothing was written") as caught:
                await client.init(members, public_keys=[(number, WRONG)])
            for part in (WRONG, f"node {number}", "`qcore node key --data-dir DIR`"):
                assert part in str(caught.value)
        for node in (first, second):
            assert (await client.get_metrics(node.address))["qcore"]["cluster_id"] is None
        (right,) = re.findall(r"another public key .*: (ed25519:\S+), and not", str(caught.value))
        await client.init(members, public_keys=[(2, right)])


@pytest.mark.parametrize("token", ["red", None])
def test_a_majority_begins_no_cluster_with_a_wrong_key(token: str | None) -> None:
    """The third node could never join it."""
    accepted = PeerHello(2, "", support=SUPPORT)
    machine, (error,) = answered({3: f"it shows {OTHER_FOUNDER_KEY}: x"}, {2: accepted}, token)
    assert isinstance(error, ConfigError)
    assert "node 3 at 10.0.0.3:80: it shows another public key" in str(error)
    assert machine.log.is_pristine
    assert machine.identity.hello_cluster_id == ""


@async_test
async def test_below_rules_5_init_has_no_keys_and_says_so(tmp_path: Path) -> None:
    config = config_of(1, tmp_path, max_rules=KEYS_SINCE_RULES - 1)
    async with Node(config) as node:
        words = ("cluster", "init", "--endpoints", node.address)
        done = await asyncio.to_thread(run_here, *words, "--public-key", f"1={WRONG}")
        assert done.code == 4
        assert "apply rules 4, under which its members have no public keys" in done.stderr
        done = await asyncio.to_thread(run_here, *words)
        assert done.code == 0, done.stderr
        assert "note: this cluster begins with apply rules 4" in done.stderr
