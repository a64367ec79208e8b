"""`judged`: whether the nodes that were found are all founders, and otherwise what is missing or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qcore.node.addresses.member_addresses import members_problem
from qcore.node.discovery.protocol.founding import Founder


@dataclass(slots=True, frozen=True)
class Candidate:
    """A node that was found, as it introduces itself.

    Attributes:
        found_at: where it was found.
        founder: its id, address and key.
        expect: how many founders it expects; 0 if it founds no cluster.
        cluster_id: the cluster to which it belongs; empty if there is none.
        begins_with: the version with which it would begin a cluster, in words.
    """

    found_at: str
    founder: Founder
    expect: int
    cluster_id: str
    begins_with: str


@dataclass(slots=True, frozen=True)
class Judgement:
    """What the candidates show.

    Attributes:
        founders: all founders, in the order of their ids, if the founding may begin; else none.
        waiting_for: why it may not.
        is_conflict: whether an operator must act: the nodes contradict each other, or there is a cluster already.
    """

    founders: tuple[Founder, ...] = ()
    waiting_for: str = ""
    is_conflict: bool = False


def judged(
    own: Founder,
    expect: int,
    candidates: Sequence[Candidate],
    begins_with: str,
    accepted_id: str = "",
) -> Judgement:
    """Whether these nodes and this one are exactly the founders 1 to `expect`.

    Args:
        own: this node.
        expect: how many founders this node expects, itself included.
        candidates: the other nodes.
        begins_with: the version with which this node would begin a cluster, in words.
        accepted_id: the cluster whose founding this node has accepted; empty if there is none.
    """
    conflict = _conflict(own, expect, candidates, begins_with, accepted_id)
    if conflict is not None:
        return Judgement(waiting_for=conflict, is_conflict=True)
    if own.node_id > expect:
        return Judgement(
            waiting_for=f"the founders are nodes 1 to {expect}, and this is node {own.node_id}: add it once the "
            f"cluster has begun (`qcore member add {own.node_id}={own.address}`)"
        )
    known = {own.node_id: own}
    for each in candidates:
        if each.founder.node_id <= expect:
            known[each.founder.node_id] = each.founder
    missing = [node for node in range(1, expect + 1) if node not in known]
    if missing:
        return Judgement(waiting_for=f"not found yet: founders {missing} of {expect}")
    founders = tuple(known[node] for node in sorted(known))
    problem = members_problem({each.node_id: each.address for each in founders})
    if problem is not None:
        return Judgement(waiting_for=problem, is_conflict=True)
    return Judgement(founders)


def _conflict(
    own: Founder,
    expect: int,
    candidates: Sequence[Candidate],
    begins_with: str,
    accepted_id: str,
) -> str | None:
    """Why no founding may begin, whatever else is found; None if one may."""
    for each in candidates:
        if each.cluster_id not in ("", accepted_id):
            return (
                f"node {each.founder.node_id} at {each.found_at} belongs to cluster {each.cluster_id}, so this node "
                f"founds no other one. Add it there (`qcore member add {own.node_id}={own.address}`); or, if that "
                "cluster is not wanted, give the other node an empty data directory"
            )
    keys = {own.node_id: (own.public_key, own.address)}
    for each in candidates:
        founder = each.founder
        key, where = keys.setdefault(founder.node_id, (founder.public_key, each.found_at))
        if key != founder.public_key:
            return (
                f"two nodes have the id {founder.node_id}, at {where} and at {each.found_at}: each founder needs "
                "an id that no other node has"
            )
    for each in candidates:
        founder = each.founder
        if each.cluster_id:
            continue  # it has begun the cluster that this node has accepted
        if founder.node_id <= expect and not each.expect:
            return f"node {founder.node_id} at {each.found_at} does not found a cluster: start it with --auto-init"
        if each.expect and each.expect != expect:
            return (
                f"node {founder.node_id} at {each.found_at} expects {each.expect} founders, and this node {expect}: "
                "give all nodes the same --expect, the number of all founders"
            )
        if founder.node_id <= expect and each.begins_with != begins_with:
            return (
                f"node {founder.node_id} at {each.found_at} would begin the cluster with {each.begins_with!r:.200}, "
                f"and this node with {begins_with!r}: start all founders with the same program, --machine and "
                "--max-rules"
            )
    return None
