"""Membership changes by joint consensus (paper section 6, dissertation 4.3).

| effective configuration | committed? | the leader |
|---|---|---|
| joint | no | waits: every decision needs both majorities |
| joint | yes | appends the configuration that leaves the joint phase; without `auto_leave`, on `LeaveJoint` |
| simple | no | waits and rejects a second change |
| simple | yes | stops replicating to removed servers; if it is one of them, transfers leadership and steps down |

A change that keeps the voters (learners come or go) needs no joint phase: it changes no quorum.
A server uses the newest configuration in its log, committed or not. If that one is truncated,
`RaftServer.truncate` rolls back to the one before.
"""

from __future__ import annotations

from typing import TypeVar

from qcore.core.effects import ChangeAccepted, ChangeRejected
from qcore.core.entry import Membership
from qcore.core.events import ChangeMembership, LeaveJoint
from qcore.core.leadership import priorities, transfer
from qcore.core.log import replication
from qcore.core.raft_server import RaftServer

T = TypeVar("T")


def change(server: RaftServer, event: ChangeMembership) -> None:
    """Begin the change, or reject it."""
    rejection = _change_rejection(server, event)
    if rejection is not None:
        server.emit(ChangeRejected(*rejection))
        return
    index = server.log.last_index + 1
    server.emit(ChangeAccepted(index, server.term))
    _append(server, first_configuration(server.membership, event, index), event.wall_us)


def leave(server: RaftServer, event: LeaveJoint) -> None:
    """Leave a joint phase that does not end by itself, or reject the request."""
    rejection = _leader_rejection(server)
    if rejection is None and not server.membership.is_joint:
        rejection = "not_joint", "there is no joint configuration to leave"
    elif rejection is None and server.membership_index > server.commit_index:
        rejection = (
            "pending",
            f"the joint configuration at index {server.membership_index} is not committed yet: retry in a moment",
        )
    if rejection is not None:
        server.emit(ChangeRejected(*rejection))
        return
    server.emit(ChangeAccepted(server.log.last_index + 1, server.term))
    _append(server, configuration_after_joint(server.membership), event.wall_us)


def first_configuration(current: Membership, event: ChangeMembership, index: int) -> Membership:
    """The configuration to append first, at `index`: joint if the voters change, else already the final one."""
    voters = tuple(sorted({*event.voters}))
    learners = tuple(sorted({*event.learners}))
    known = {**dict(current.addresses), **dict(event.addresses)}
    members = sorted({*voters, *learners, *current.voters})
    new = {member: index for member in members if member not in current.members()}
    joined = {**dict(current.joined), **new}
    keys = {**dict(event.keys), **dict(current.keys)}
    if voters == current.voters:
        return Membership(
            voters=voters,
            learners=learners,
            addresses=_of_members(known, sorted({*voters, *learners})),
            cluster_id=current.cluster_id,
            joined=_of_members(joined, sorted({*voters, *learners})),
            keys=_of_members(keys, sorted({*voters, *learners})),
        )
    return Membership(
        voters=voters,
        voters_outgoing=current.voters,
        learners=tuple(member for member in learners if member not in current.voters),
        learners_next=tuple(member for member in learners if member in current.voters),
        addresses=_of_members(known, members),
        cluster_id=current.cluster_id,
        joined=_of_members(joined, members),
        auto_leave=event.auto_leave,
        keys=_of_members(keys, members),
    )


def configuration_after_joint(joint: Membership) -> Membership:
    """The configuration after the joint phase."""
    learners = tuple(sorted({*joint.learners, *joint.learners_next}))
    members = sorted({*joint.voters, *learners})
    return Membership(
        voters=joint.voters,
        learners=learners,
        addresses=_of_members(dict(joint.addresses), members),
        cluster_id=joint.cluster_id,
        joined=_of_members(dict(joint.joined), members),
        keys=_of_members(dict(joint.keys), members),
    )


def advance(server: RaftServer) -> None:
    """On a leader, after each event: take the next step of a change whose configuration is committed."""
    if (
        server.membership_index > server.commit_index
        or server.commit_index < server.term_start_index
    ):
        return
    if server.membership.is_joint:
        if server.membership.auto_leave:
            _append(server, configuration_after_joint(server.membership), 0)
        else:
            server.settled_membership_index = server.membership_index
        return
    members = server.membership.members()
    gone = [peer for peer in server.progress if peer not in members]
    for peer in gone:
        # The last message informs a removed server that its removal is committed. It may be lost.
        replication.send_heartbeat(server, peer, server.progress[peer])
        del server.progress[peer]
    if server.membership.is_voter(server.node_id):
        server.settled_membership_index = server.membership_index
    else:
        transfer.transfer_on_removal(server)


def _append(server: RaftServer, membership: Membership, wall_us: int) -> None:
    replication.append_as_leader(server, "membership", [membership.to_json()], wall_us)
    replication.broadcast(server)
    replication.maybe_commit(server)


def _change_rejection(server: RaftServer, event: ChangeMembership) -> tuple[str, str] | None:
    """Name and reason of the rejection, or None."""
    current = server.membership
    known = {*dict(current.addresses), *dict(event.addresses)}
    unknown = sorted({*event.voters, *event.learners} - known)
    both = sorted({*event.voters} & {*event.learners})
    if (rejection := _leader_rejection(server)) is not None:
        return rejection
    if server.membership_index > server.commit_index or current.is_joint:
        return (
            "pending",
            f"the change at index {server.membership_index} is not finished: wait for it",
        )
    if event.expected_index is not None and event.expected_index != server.membership_index:
        return "changed", (
            f"the configuration is now that of index {server.membership_index}, not {event.expected_index}: "
            "read it again before changing it"
        )
    if not event.voters:
        return "empty", "a cluster needs at least one voter"
    if unknown:
        return "unknown_member", f"no address is known for {unknown}: add them as learners first"
    if both:
        return "contradiction", f"{both} cannot be both voters and learners"
    if (changed := _changed_key(current, event)) is not None:
        return "other_key", (
            f"node {changed} is a member with another public key: remove it, and add it again with the new one"
        )
    if (fault := priorities.change_rejection(server, event.voters)) is not None:
        return "priorities", fault
    if (
        fault := first_configuration(current, event, server.log.last_index + 1).invalid_reason()
    ) is not None:
        return "invalid", f"no cluster can have this configuration: {fault}"
    return None


def _changed_key(current: Membership, event: ChangeMembership) -> int | None:
    """A member whose public key the change would replace, or None. Its key stays the same while it is a member."""
    known = dict(current.keys)
    changed = [node for node, key in event.keys if known.get(node, key) != key]
    return changed[0] if changed else None


def _leader_rejection(server: RaftServer) -> tuple[str, str] | None:
    """Why this server can begin no change: name and reason, or None."""
    if server.role != "leader":
        return "not_leader", "this node is not the leader"
    if server.transfer is not None:
        return "transferring", "leadership is being transferred: retry in a moment"
    if server.commit_index < server.term_start_index:
        # Otherwise two leaders could start different changes from the same configuration, with
        # majorities that do not overlap.
        return (
            "not_ready",
            "this leader has not committed an entry of its current term yet: retry in a moment",
        )
    return None


def _of_members(known: dict[int, T], members: list[int]) -> tuple[tuple[int, T], ...]:
    return tuple((member, known[member]) for member in members if member in known)
