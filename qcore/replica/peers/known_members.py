"""The incarnations of the members that a node has met, so that it recognises a wiped member.

A data directory gets a random incarnation when it is created. A member that returns with another incarnation has
forgotten its votes and its log, and could help to elect two leaders in one term or to lose a committed entry. So it is
refused until it is removed from the cluster and added again. That makes it a new member, with another index in
`Membership.joined`. Even a node that has only a snapshot recognises the new member by that index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from qcore.core.entry import Membership
from qcore.errors import RemoteProtocolError

#: Characters in an incarnation. A node draws 32; more would only fill the memory and the disk of its peers.
MAX_INCARNATION: Final = 128
#: Part of the refusal of a wiped member. 0.1.0 uses the same text.
WAS_WIPED: Final = "was wiped: its data directory is not the one that this node has met before"
#: How many nodes are remembered that the configuration does not name (yet).
MAX_KNOWN_NON_MEMBERS: Final = 1000


@dataclass(slots=True, frozen=True)
class KnownMember:
    """A member that this node has met.

    Attributes:
        incarnation: the incarnation of its data directory.
        joined: the index of the configuration that made it a member; None while this node's configuration does not
            name it.
    """

    incarnation: str
    joined: int | None = None


class KnownMembers:
    """The incarnation of each member that this node has met.

    Args:
        known: the members that the node remembered before its restart.
        save: makes a change durable; its exceptions reach the caller of `remember` and `retain`.
    """

    def __init__(
        self,
        known: Mapping[int, KnownMember],
        save: Callable[[Mapping[int, KnownMember]], None],
    ) -> None:
        self._known = dict(known)
        self._save = save
        self._unsaved = False

    def check(self, node_id: int, incarnation: str) -> None:
        """Compare the incarnation of a member with the one remembered.

        Raises:
            RemoteProtocolError: it is not the member that was met before, or its incarnation is too long.
        """
        if len(incarnation) > MAX_INCARNATION:
            raise RemoteProtocolError(
                f"the incarnation of node {node_id} has {len(incarnation)} characters, the limit is {MAX_INCARNATION}"
            )
        known = self._known.get(node_id)
        if known is not None and incarnation and incarnation != known.incarnation:
            raise RemoteProtocolError(
                f"node {node_id} {WAS_WIPED}; it has forgotten its votes, so it is refused until node {node_id} was "
                "removed from the cluster and added again"
            )

    def remember(self, node_id: int, incarnation: str, membership: Membership) -> None:
        """Remember a member of this node's cluster, or a node that its configuration does not name yet.

        At most `MAX_KNOWN_NON_MEMBERS` nodes outside the configuration are remembered. Others are remembered when they
        connect after they have joined.

        Raises:
            StorageError: the change is not durable. It is remembered until this process ends, and `retry_save` tries
                again.
        """
        known = self._known.get(node_id)
        if incarnation and (known is None or known.incarnation != incarnation):
            is_member = node_id in membership.members()
            if (
                not is_member
                and known is None
                and self._non_members(membership) >= MAX_KNOWN_NON_MEMBERS
            ):
                return
            joined = membership.joined_at(node_id) if is_member else None
            self._known[node_id] = KnownMember(incarnation, joined)
            self._store()

    def retain(self, membership: Membership, index: int | None = None) -> None:
        """Forget members that were removed: they may return as new members.

        Args:
            membership: a committed configuration.
            index: the log index up to which it is the newest; None if there is no later configuration. Members that
                joined after it are kept, because after a restart a node may know fewer committed entries than before.

        Raises:
            StorageError: the change is not durable, as for `remember`.
        """
        kept: dict[int, KnownMember] = {}
        members = membership.members()
        for node_id, known in self._known.items():
            joined = membership.joined_at(node_id)
            if index is not None and (known.joined or 0) > index:
                kept[node_id] = known
            elif node_id in members and known.joined in (None, joined):
                kept[node_id] = KnownMember(known.incarnation, joined)
        if kept != self._known:
            self._known = kept
            self._store()

    def retry_save(self) -> None:
        """Save again if the last attempt failed.

        Raises:
            StorageError: this attempt failed, too.
        """
        if self._unsaved:
            self._store()

    def _store(self) -> None:
        self._unsaved = True
        self._save(self._known)
        self._unsaved = False

    def _non_members(self, membership: Membership) -> int:
        members = membership.members()
        return sum(node_id not in members for node_id in self._known)
