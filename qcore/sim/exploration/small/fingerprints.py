"""Fingerprints: hashable values that stand for the state of a core, a disk or a message.

Two states with the same fingerprint behave the same from now on. A fingerprint leaves out only what cannot change any
later effect on an explored cluster:

| left out | why |
|---|---|
| clocks and what is measured by them | the explorer's clock stands still, and timers fire by choice |
| absolute write ids | only their order relative to the newest durable write matters |
| what a leader knows, on other servers | a new leader sets all of it |
| texts for humans, the memory of the transfer backoff | no decision on an explored cluster depends on them |

A new field of the core is part of the fingerprint until it is listed here. Ids of nodes are `NodeRef`, so that
`renamed` can exchange them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, TypeAlias, get_args

from qcore.core.entry import DurableState, Entry, Membership, Snapshot
from qcore.core.log.progress import Progress
from qcore.core.log.raft_log import RaftLog
from qcore.core.messages import RaftMessage
from qcore.core.raft_server import RaftServer
from qcore.core.reads.read_rounds import ReadRounds
from qcore.sim.exploration.small.core_copy import field_names

#: Nested tuples and frozen sets of numbers, texts and `NodeRef`. Any: Python cannot name a recursive type of tuples.
Fingerprint: TypeAlias = Any


class NodeRef(int):
    """The id of a node in a fingerprint."""


#: Fields of `RaftServer` that no later effect depends on.
_LEFT_OUT: Final = frozenset(
    {
        "config",
        "rng",
        "now",
        "wall_us",
        "started_at",
        "effects",
        "stamped_at",
        "commit_advanced_at",
        "clock",
        "voter_wall_offset_us",
        "transfer_backoff",
        "next_unasked_transfer_at",
        "last_transfer_failure",
        "_syncs",
        "_issued_at",
        "_emitted_role",
        "last_time_us",
        "last_clock_us",
        # Copies of settings.
        "priority",
        "max_inflight_messages",
        "max_inflight_bytes",
        "max_batch_bytes",
        "max_uncommitted_bytes",
        "vote_durable_before_reply",
        "durable_before_ack",
        "commit_own_term_only",
        "freshness_check",
        # Derived from the log and the snapshot.
        "memberships",
        "membership",
        "membership_index",
        "versions",
        "rules",
    }
)
#: Fields of `RaftServer` that only a leader reads, and that a new leader sets.
_OF_LEADERS: Final = frozenset(
    {
        "uncommitted_bytes",
        "term_start_index",
        "reads",
        "transfer",
        "unanswered_timeout_now",
        "lease_void",
        "settled_membership_index",
        "heartbeat_deadline",
    }
)
#: Fields that hold the number of a write, which counts relative to the newest durable one.
_WRITE_IDS: Final = frozenset({"hard_state_write_id", "own_vote_write_id", "last_write_id"})
_PROGRESS: Final = tuple(
    name
    for name in getattr(
        Progress, "__slots__", ()
    )  # a compiled class has none; the explorer refuses it
    if name
    not in {
        "acked_round_started_at",
        "echo_us",
        "echo_arrived_at",
        "last_response_at",
        "responding_since",
        "unanswered_heartbeats",
        "last_sent_at",
        "wall_offset_us",
    }
)


def of_server(server: RaftServer) -> Fingerprint:
    """The fingerprint of a server's memory."""
    leads = server.role == "leader"
    durable = server.durable_write_id
    parts: list[Fingerprint] = []
    for name, value in server.__dict__.items():
        if name in _LEFT_OUT or name == "durable_write_id" or (name in _OF_LEADERS and not leads):
            continue
        if name in _WRITE_IDS:
            parts.append(max(0, value - durable))
        elif name == "log":
            parts.append(of_log(value))
        elif name in ("node_id", "voted_for", "leader_id"):
            parts.append(None if value is None else NodeRef(value))
        elif name in ("votes", "progress", "unanswered_timeout_now"):
            parts.append(
                frozenset({(NodeRef(node), of_value(held)) for node, held in value.items()})
            )
        else:
            parts.append(of_value(value))
    return tuple(parts)


def of_value(value: Any) -> Fingerprint:
    """The fingerprint of any value of a core. Any: a field may have any type."""
    kind: type = type(value)
    if kind in (int, str, bool, float, type(None)):
        return value
    if kind is Progress:
        return tuple([of_value(getattr(value, name)) for name in _PROGRESS])
    if kind is Membership:
        return of_membership(value)
    if kind is Snapshot:
        return of_snapshot(value)
    if kind is ReadRounds:  # when a round began does not matter: the clock stands still
        in_flight = value.in_flight
        return (
            value.round,
            None if in_flight is None else (in_flight[0], in_flight[1], tuple(in_flight[2])),
            tuple(value.queued),
            tuple(value.awaiting_commit),
        )
    if kind in (tuple, list, deque):
        return tuple([of_value(item) for item in value])
    if isinstance(value, Mapping):
        return frozenset({(of_value(key), of_value(item)) for key, item in value.items()})
    names = field_names(kind)
    assert names is not None, "the core has no other classes"
    return tuple([of_field(name, getattr(value, name)) for name in names])


#: Fields of values within a core, and of messages, that hold the id of a node.
_IDS: Final = frozenset({"target", "leader_id", "candidate_id"})
#: Fields that hold ids of several nodes, in no order that matters.
_ID_LISTS: Final = frozenset({"must_reach", "rejected_by"})


def of_field(name: str, value: Any) -> Fingerprint:
    """The fingerprint of a field of a value or message. Any: a field may have any type."""
    if name in _IDS:
        return NodeRef(value)
    if name in _ID_LISTS:
        return frozenset({NodeRef(node) for node in value})
    if name == "votes":
        return frozenset({(NodeRef(node), vote) for node, vote in value.items()})
    if name == "deadline":
        return None  # the clock stands still
    if name == "entries":
        return tuple([of_entry(entry) for entry in value])
    return of_value(value)


def of_log(log: RaftLog) -> Fingerprint:
    """The fingerprint of a log in memory."""
    return log.offset, log.offset_term, tuple([of_entry(entry) for entry in log.entries])


def of_entry(entry: Entry) -> Fingerprint:
    """The fingerprint of an entry. Its index is its place."""
    if entry.kind == "membership":
        return entry.term, entry.kind, of_membership(Membership.from_json(entry.data))
    return entry.term, entry.kind, entry.data


def of_membership(membership: Membership) -> Fingerprint:
    """The fingerprint of a configuration. Addresses follow from the ids."""
    sets = (
        membership.voters,
        membership.voters_outgoing,
        membership.learners,
        membership.learners_next,
    )
    return (
        tuple([frozenset({NodeRef(node) for node in ids}) for ids in sets]),
        frozenset({(NodeRef(node), index) for node, index in membership.joined}),
        membership.auto_leave,
    )


def of_snapshot(snapshot: Snapshot | None) -> Fingerprint:
    """The fingerprint of a snapshot."""
    if snapshot is None:
        return None
    meta = snapshot.meta
    return (
        meta.last_included_index,
        meta.last_included_term,
        of_membership(meta.membership),
        str(snapshot.data),
    )


def of_durable(state: DurableState) -> Fingerprint:
    """The fingerprint of a disk."""
    hard = state.hard_state
    voted = None if hard.voted_for is None else NodeRef(hard.voted_for)
    entries = tuple([(entry.index, of_entry(entry)) for entry in state.entries])
    return hard.term, voted, hard.commit, of_snapshot(state.snapshot), entries


#: Fields of messages that report clocks, which stand still.
_CLOCK_FIELDS: Final = frozenset({"echo_us", "confirmed_ago_us", "sent_us", "wall_us"})


#: Class of a message -> its fields that count.
_MESSAGE_FIELDS: Final = {
    kind: tuple([field.name for field in fields(kind) if field.name not in _CLOCK_FIELDS])
    for kind in get_args(RaftMessage)
}


def message_fields(message: RaftMessage) -> tuple[str, ...]:
    """The fields of a message that count."""
    return _MESSAGE_FIELDS[type(message)]


def of_message(sender: int, receiver: int, message: RaftMessage) -> Fingerprint:
    """The fingerprint of a message in flight."""
    return (
        type(message).__name__,
        NodeRef(sender),
        NodeRef(receiver),
        tuple([of_field(name, getattr(message, name)) for name in message_fields(message)]),
    )


def renamed(value: Fingerprint, names: Mapping[int, int]) -> Fingerprint:
    """The fingerprint with the ids of nodes exchanged: `names` maps each id to its new one."""
    kind: type = type(value)
    if kind is NodeRef:
        return NodeRef(names.get(value, value))
    if kind is tuple:
        return tuple([renamed(item, names) for item in value])
    if kind is frozenset:
        return frozenset([renamed(item, names) for item in value])
    return value
