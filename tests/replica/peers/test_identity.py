"""Which peers a node accepts, before and after it belongs to a cluster."""

from __future__ import annotations

import pytest

from qcore.errors import RemoteProtocolError
from qcore.replica.peers.identity import ClusterIdentity


def test_a_member_accepts_only_its_own_cluster() -> None:
    identity = ClusterIdentity(1, "red")
    identity.accept(2, "red")
    with pytest.raises(RemoteProtocolError, match=r"node 3 .* cluster blue, node 1 .* cluster red"):
        identity.accept(3, "blue")


def test_peer_with_the_same_node_id_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="same id"):
        ClusterIdentity(1, "red").accept(1, "red")


def test_peer_without_a_cluster_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="belongs to no cluster"):
        ClusterIdentity(1, None).accept(2, "")


def test_a_new_node_accepts_one_cluster_at_a_time() -> None:
    identity = ClusterIdentity(1, None)
    identity.accept(2, "red")
    identity.accept(3, "red")
    with pytest.raises(RemoteProtocolError, match="about to join cluster red"):
        identity.accept(4, "blue")
    identity.release("red")
    with pytest.raises(RemoteProtocolError, match="about to join cluster red"):
        identity.accept(4, "blue")
    identity.release("red")
    identity.accept(4, "blue")
    assert identity.joining_cluster_id == "blue"


def test_node_joins_one_cluster_only_once() -> None:
    identity = ClusterIdentity(1, None)
    identity.accept(2, "red")
    assert identity.join("red")
    assert not identity.join("red")
    with pytest.raises(RemoteProtocolError, match="red and cannot join blue"):
        identity.join("blue")
    identity.release("red")
    with pytest.raises(RemoteProtocolError):
        identity.accept(4, "blue")


def test_a_node_that_offers_a_cluster_accepts_no_other() -> None:
    identity = ClusterIdentity(1, None)
    identity.begin_init("red")
    assert identity.hello_cluster_id == "red"
    with pytest.raises(RemoteProtocolError, match="about to join cluster red by its own Init"):
        identity.accept(2, "blue")
    identity.accept(2, "red")
    identity.end_init()
    assert identity.hello_cluster_id == ""
    with pytest.raises(RemoteProtocolError, match="about to join cluster red"):
        identity.accept(3, "blue")
    with pytest.raises(RemoteProtocolError, match="cannot begin cluster blue: it has accepted red"):
        identity.begin_init("blue")
    identity.release("red")
    identity.begin_init("blue")
    identity.join("blue")
    with pytest.raises(RemoteProtocolError, match="cannot begin"):
        identity.begin_init("red")
