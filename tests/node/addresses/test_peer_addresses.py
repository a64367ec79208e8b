"""Where a node dials its peers: which announced addresses it believes, and in which order it tries them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qcore.core.entry import Membership
from qcore.errors import ConfigError
from qcore.node.addresses.member_addresses import moved_member_problem, moved_members_problem
from qcore.node.addresses.peer_addresses import PeerAddresses, parse_hints
from qcore.node.config import NodeConfig
from qcore.security.keys.node_key import NodeKey

KEY, OTHER_KEY = (NodeKey(bytes([number]) * 32).public for number in (1, 2))
KEYED = Membership((1, 2), addresses=((1, "a:1"), (2, "b:1")), cluster_id="red", keys=((2, KEY),))


class World:
    """The addresses of the peers of node 1."""

    def __init__(self, own: str = "a:9") -> None:
        self.membership = KEYED
        self.warned: list[tuple[int, str]] = []
        self.addresses = PeerAddresses(
            lambda: self.membership, 1, own, {2: "hint:1"}, lambda *line: self.warned.append(line)
        )


def test_newer_addresses_are_tried_first_and_hints_last() -> None:
    world = World()
    of = world.addresses.of
    assert of(2, "b:1") == ("b:1", "hint:1")
    assert of(3, "c:1") == ("c:1",)
    assert world.addresses.note(2, "new:1", KEY)
    assert of(2, "b:1") == ("new:1", "b:1", "hint:1")
    assert not world.addresses.note(2, "new:1", KEY), "nothing has changed"
    assert of(2, "NEW.:1") == ("new:1", "hint:1"), "another spelling of one address"
    assert of(2, "HINT:1") == ("new:1", "HINT:1")
    assert of(2, "not an address") == ("new:1", "not an address", "hint:1"), "0.1.0 took any text"


def test_members_that_exchanged_addresses_find_each_other() -> None:
    """Each dials the other at what is now its own address. Without this, two of five could not meet."""
    addresses = ((1, "a:1"), (2, "b:1"), (3, "c:1"))
    exchanged = World("B:1")
    exchanged.membership = replace(KEYED, voters=(1, 2, 3), addresses=addresses)
    assert exchanged.addresses.of(2, "b:1") == ("b:1", "hint:1", "a:1", "c:1")
    assert exchanged.addresses.of(3, "c:1") == ("c:1", "a:1")
    for own in ("", "a:1", "a:9"):
        elsewhere = World(own)
        elsewhere.membership = exchanged.membership
        assert elsewhere.addresses.of(3, "c:1") == ("c:1",), own


@pytest.mark.parametrize("key", ["", OTHER_KEY])
def test_an_announcement_without_the_members_key_is_not_used(key: str) -> None:
    world = World()
    world.addresses.note(2, "new:1", key)
    assert world.addresses.announced_by(2) is None
    assert world.addresses.of(2, "b:1") == ("b:1", "hint:1")


def test_without_configured_keys_no_member_moves_itself() -> None:
    """Under apply rules below 5 a proof of any key says nothing about who the peer is."""
    world = World()
    world.membership = replace(KEYED, keys=())
    world.addresses.note(2, "new:1", KEY)
    assert world.addresses.announced_by(2) is None
    world.membership = KEYED
    assert world.addresses.announced_by(2) == "new:1", "once the configuration has the key"


def test_the_newest_connection_of_a_peer_decides() -> None:
    world = World()
    world.addresses.note(2, "new:1", KEY)
    assert world.addresses.note(2, "", KEY), "started again without an address for others"
    assert world.addresses.announced_by(2) is None
    world.addresses.note(2, "New.Example:1", KEY)
    assert world.addresses.announced_by(2) == "new.example:1"


@pytest.mark.parametrize("address", ["0.0.0.0:1", "b:0", "nonsense", "[::]:1"])
def test_an_announced_address_must_be_one_to_dial(address: str) -> None:
    world = World()
    world.addresses.note(2, address, KEY)
    assert world.addresses.announced_by(2) is None
    ((peer, why),) = world.warned
    assert peer == 2
    assert "the announced address" in why


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["b:1"], "is not ID=host:port"),
        (["0=b:1"], "is not ID=host:port"),
        (["2=b:1", "2=c:1"], "node 2 is given two addresses"),
        (["2=0.0.0.0:1"], "peers: node 2: 0.0.0.0:1"),
        (["2=b:0"], "port 0 cannot be dialled"),
        (["2=::1:1"], r"in brackets"),
    ],
)
def test_a_wrong_hint_is_an_error_at_the_start(tmp_path: Path, texts: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        NodeConfig.of(1, tmp_path, peers=tuple(texts))


def test_hints_are_read_in_their_usual_spelling() -> None:
    assert parse_hints(["2=[0::1]:80", "3=C.example:1"]) == {2: "[::1]:80", 3: "c.example:1"}


def test_members_move_if_their_addresses_fit_together() -> None:
    members = {1: "10.0.0.1:1", 2: "10.0.0.2:1", 3: "10.0.0.3:1"}
    assert moved_member_problem(2, "10.0.0.9:1", members) is None
    assert "is the address of node 1" in str(moved_member_problem(2, "10.0.0.1:1", members))
    assert "loopback" in str(moved_member_problem(2, "127.0.0.1:1", members))
    local = {1: "127.0.0.1:1", 2: "127.0.0.1:2"}
    assert moved_member_problem(2, "10.0.0.2:1", local) is None, "the others may follow"
    assert moved_members_problem({1: "10.0.0.2:1", 2: "10.0.0.1:1"}, members) is None, "exchanged"
    assert "address of node 3" in str(moved_members_problem({1: "10.0.0.3:1"}, members))
