"""Log entries, durable state and configurations: the values that reach the disk and the wire."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeGuard, TypeVar, cast

from qcore.compiled_build import mypyc_attr, register_copies, restore_source
from qcore.core.log.compressed_text import SnapshotText
from qcore.core.text_size import utf8_length
from qcore.core.version import (
    FIRST_VERSION,
    SINCE_RULES_2,
    ClusterVersion,
    compact_json,
    object_in,
)
from qcore.display import HIDDEN
from qcore.wire_value import WireValue

EntryKind = Literal["command", "noop", "membership", "session", "version", "access"]

_T = TypeVar("_T")

#: Bytes counted per entry on top of its data, for batch and window limits.
ENTRY_OVERHEAD_BYTES: Final = 48

#: Begins the text of a public key; 32 bytes as unpadded base64url follow. The last character holds four bits.
KEY_PREFIX: Final = "ed25519:"
_PUBLIC_KEY: Final = re.compile(KEY_PREFIX + r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


def is_public_key(text: str) -> bool:
    """Whether the text has the form of a public key."""
    return _PUBLIC_KEY.fullmatch(text) is not None


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class Entry(WireValue):
    """One entry of the replicated log. Never mutated once made.

    Attributes:
        index: position in the log, from 1, without gaps.
        term: the leader's term when it appended the entry.
        kind: `command` goes to the state machine; `noop` is the new leader's first entry
            (dissertation 6.4); `session` belongs to a client session (6.3); `membership` holds a
            `Membership` as JSON (4.1); `version` holds a `ClusterVersion` as JSON; `access` changes users and roles.
        data: the command as text (opaque to Raft), or the JSON, or empty.
        time_us: the leader's wall clock when it appended the entry, microseconds since the Unix epoch,
            never less than the previous entry's. For time stamps.
        clock_us: the cluster clock when the leader appended the entry, microseconds, never less than the previous
            entry's. For sessions. It runs only while there is a leader; see `qcore.core.clocks.cluster_clock`. 0
            under rules 1.
        user: the name of the user whose request this is; empty if there are no users, and for what no user requested.
    """

    index: int
    term: int
    kind: EntryKind
    data: str
    time_us: int
    clock_us: int = field(default=0, metadata=SINCE_RULES_2)
    user: str = field(default="", metadata=SINCE_RULES_2)

    def __init__(
        self,
        index: int,
        term: int,
        kind: EntryKind,
        data: str,
        time_us: int,
        clock_us: int = 0,
        user: str = "",
    ) -> None:
        self.index = index
        self.term = term
        self.kind = kind
        self.data = data
        self.time_us = time_us
        self.clock_us = clock_us
        self.user = user

    def __repr__(self) -> str:
        """As of every dataclass, but for a change of users, which may hold a password hash."""
        data = HIDDEN if self.kind == "access" else repr(self.data)
        return (
            f"Entry(index={self.index!r}, term={self.term!r}, kind={self.kind!r}, data={data}, "
            f"time_us={self.time_us!r}, clock_us={self.clock_us!r}, user={self.user!r})"
        )

    def size_bytes(self) -> int:
        """Bytes of the data as UTF-8 plus a fixed overhead. JSON may escape characters and take more on the wire."""
        data = self.data
        return (len(data) if data.isascii() else utf8_length(data)) + ENTRY_OVERHEAD_BYTES


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class HardState(WireValue):
    """What a server must remember across restarts (paper, figure 2: persistent state).

    `commit` need not be durable for safety. If it is stored, a restart applies entries sooner. `promise_ms` is the
    longest promise to a leader's lease that this server's responses may have made; see `qcore.core.reads.read_index`.
    """

    term: int = 0
    voted_for: int | None = None
    commit: int = 0
    promise_ms: int = 0

    def __init__(
        self, term: int = 0, voted_for: int | None = None, commit: int = 0, promise_ms: int = 0
    ) -> None:
        self.term = term
        self.voted_for = voted_for
        self.commit = commit
        self.promise_ms = promise_ms


@dataclass(frozen=True)
class Membership(WireValue):
    """The cluster's configuration, simple or joint (dissertation 4.3).

    Attributes:
        voters: ids of the (incoming) voters, sorted.
        voters_outgoing: ids of the outgoing voters while joint, else empty. Every decision needs a
            majority of both sets.
        learners: ids that receive the log and do not vote.
        learners_next: outgoing voters that become learners when the joint phase ends.
        addresses: `(id, "host:port")` of every member, sorted by id.
        cluster_id: names the cluster; chosen once, at initialisation.
        joined: `(id, log index)` of every member that was added after the cluster began, sorted by id: the index of
            the configuration that made it a member. A member that was removed and added again has another index.
        auto_leave: while joint, the leader moves on to the simple configuration by itself; if false, it waits for
            `LeaveJoint`. It is part of the entry because a later leader must know it. True is not written.
        keys: `(id, public key)` of every member, sorted by id; empty in a cluster whose members have none (apply rules
            below 5, and simulated nodes of the fidelity `replica`). A key is `ed25519:` and 32 bytes as base64url.
    """

    voters: tuple[int, ...] = ()
    voters_outgoing: tuple[int, ...] = ()
    learners: tuple[int, ...] = ()
    learners_next: tuple[int, ...] = ()
    addresses: tuple[tuple[int, str], ...] = ()
    cluster_id: str = ""
    joined: tuple[tuple[int, int], ...] = field(default=(), metadata=SINCE_RULES_2)
    auto_leave: bool = field(default=True, metadata={"exclude_if": bool})
    keys: tuple[tuple[int, str], ...] = field(default=(), metadata=SINCE_RULES_2)

    @property
    def is_joint(self) -> bool:
        return bool(self.voters_outgoing)

    @property
    def is_empty(self) -> bool:
        """True for a pristine node that knows no cluster."""
        return not self.voters

    def is_voter(self, node_id: int) -> bool:
        return node_id in self.voters or node_id in self.voters_outgoing

    def members(self) -> tuple[int, ...]:
        """Every id that receives the log, sorted, without duplicates."""
        return tuple(
            sorted({*self.voters, *self.voters_outgoing, *self.learners, *self.learners_next})
        )

    def invalid_reason(self) -> str | None:
        """Why this cannot be the configuration of a cluster, or None if it can."""
        if not self.voters:
            return "it has no voters"
        for name in ("voters", "voters_outgoing", "learners", "learners_next"):
            ids: tuple[int, ...] = getattr(self, name)
            if len(frozenset(ids)) < len(ids):
                return f"{name} {list(ids)} names a node twice"
            if min(ids, default=1) < 1:
                return f"{name} {list(ids)} has an id below 1"
        voters = frozenset(self.voters + self.voters_outgoing)
        if not voters.isdisjoint(self.learners):
            return f"a node is both voter and learner (learners {list(self.learners)})"
        if not frozenset(self.voters_outgoing).issuperset(self.learners_next):
            return f"learners_next {list(self.learners_next)} are not outgoing voters"
        if self.keys:
            return self._invalid_keys()
        return None

    def _invalid_keys(self) -> str | None:
        """Why these cannot be the keys of the members, or None: each member has one, and no two have the same."""
        ids = tuple(node_id for node_id, _ in self.keys)
        if ids != self.members():
            without = sorted({*self.members()} - {*ids})
            return (
                f"node {without[0]} has no public key, and every member of this cluster has one"
                if without
                else f"keys names {list(ids)}, the members are {list(self.members())}"
            )
        owners: dict[str, int] = {}
        for node_id, key in self.keys:
            if not is_public_key(key):
                return f"the public key of node {node_id} is not one: {key!r:.100}"
            if (other := owners.setdefault(key, node_id)) != node_id:
                return f"nodes {other} and {node_id} have the same public key"
        return None

    def joined_at(self, node_id: int) -> int:
        """Index of the configuration that made this node a member; 0 for a member of the first configuration."""
        return dict(self.joined).get(node_id, 0)

    def address_of(self, node_id: int) -> str | None:
        return dict(self.addresses).get(node_id)

    def key_of(self, node_id: int) -> str | None:
        """The public key of a member, or None if it has none."""
        return dict(self.keys).get(node_id)

    def to_json(self) -> str:
        """Canonical text, as stored in a `membership` entry."""
        values: dict[str, object] = {
            "voters": self.voters,
            "voters_outgoing": self.voters_outgoing,
            "learners": self.learners,
            "learners_next": self.learners_next,
            "addresses": self.addresses,
            "cluster_id": self.cluster_id,
        }
        if self.joined:
            values["joined"] = self.joined
        if not self.auto_leave:
            values["auto_leave"] = False
        if self.keys:
            values["keys"] = self.keys
        return compact_json(values)

    @classmethod
    def from_json(cls, text: str) -> Membership:
        """Inverse of `to_json`.

        Raises:
            ValueError: the text is not a membership. A key that is missing has its default value, and an unknown one
                means nothing.
        """
        found = object_in(text)
        cluster_id, auto_leave = found.get("cluster_id", ""), found.get("auto_leave", True)
        if type(cluster_id) is not str:
            raise ValueError("cluster_id is a text")
        if type(auto_leave) is not bool:
            raise ValueError("auto_leave is true or false")
        return cls(
            voters=tuple(_list_in(found, "voters", _is_int)),
            voters_outgoing=tuple(_list_in(found, "voters_outgoing", _is_int)),
            learners=tuple(_list_in(found, "learners", _is_int)),
            learners_next=tuple(_list_in(found, "learners_next", _is_int)),
            addresses=_texts_by_node(found, "addresses"),
            cluster_id=cluster_id,
            joined=tuple([(pair[0], pair[1]) for pair in _list_in(found, "joined", _is_joined)]),
            auto_leave=auto_leave,
            keys=_texts_by_node(found, "keys"),
        )


def _list_in(
    found: Mapping[str, object], key: str, is_item: Callable[[object], TypeGuard[_T]]
) -> Iterator[_T]:
    """The items of a list in a JSON object; none if the key is missing.

    Raises:
        ValueError: the value is no list, or an item is of another kind.
    """
    items = found.get(key, [])
    if not isinstance(items, list):
        raise ValueError(f"{key} is a list")
    for item in items:
        if not is_item(item):
            raise ValueError(f"{key} holds {item!r:.100}")
        yield item


def _is_int(value: object) -> TypeGuard[int]:
    return type(value) is int  # `True` is not a number in JSON


def _texts_by_node(found: Mapping[str, object], key: str) -> tuple[tuple[int, str], ...]:
    """A list of pairs of a node's id and a text in a JSON object, with the errors of `_list_in`."""
    pairs = _list_in(found, key, _is_number_and_text)
    return tuple([(cast(int, pair[0]), cast(str, pair[1])) for pair in pairs])


def _is_number_and_text(value: object) -> TypeGuard[list[int | str]]:
    return (
        isinstance(value, list) and len(value) == 2 and _is_int(value[0]) and type(value[1]) is str
    )


def _is_joined(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and len(value) == 2 and _is_int(value[0]) and _is_int(value[1])


@dataclass(frozen=True)
class SnapshotMeta(WireValue):
    """Which prefix of the log a snapshot replaces (paper, section 7).

    Attributes:
        last_included_index: the last entry that it covers.
        last_included_term: that entry's term.
        last_included_time_us: that entry's `time_us`. Log time must not go back after a snapshot
            either, or a client session would expire later than it should (dissertation 6.3).
        membership: the effective configuration at that entry.
        last_included_clock_us: that entry's `clock_us`.
        version: the version of the cluster at that entry.
    """

    last_included_index: int
    last_included_term: int
    last_included_time_us: int
    membership: Membership
    last_included_clock_us: int = 0
    version: ClusterVersion = FIRST_VERSION


@dataclass(frozen=True)
class Snapshot(WireValue):
    """A complete snapshot: what it covers, and the state machine's text.

    A large text is a `CompressedText`, which takes little memory: read it with slices, `data[start:end]`, or use
    `str(data)` for the whole. `checksum` is the CRC-32 of the text as UTF-8. It is None if it was not computed, which
    takes long for a large text.
    """

    meta: SnapshotMeta
    data: SnapshotText = field(repr=False)
    checksum: int | None = field(default=None, compare=False)


@dataclass
class DurableState(WireValue):
    """Everything that a storage returns when a node starts. A fresh node has the default value.

    `entries` begin right after `snapshot` (or at index 1) and have no gap.
    """

    hard_state: HardState = field(default_factory=HardState)
    snapshot: Snapshot | None = None
    entries: list[Entry] = field(default_factory=list)


restore_source(globals())
register_copies(globals())
