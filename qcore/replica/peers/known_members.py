"""The members that a node has met, so that one whose data was wiped is told from the one that it was.

A data directory has an incarnation, drawn when it is made. A member that returns with another incarnation has
forgotten its votes and its log, and could help to elect two leaders in one term or to lose a committed
entry. So it is refused until it was removed from the cluster and added again, which makes it a new member: one with
another index in `Membership.joined`. A node tells that also from a snapshot alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from qcore.core.entry import Membership
from qcore.errors import RemoteProtocolError

#: Characters in an incarnation. A node draws 32; more would only fill the memory and the disk of those who remember it.
MAX_INCARNATION: Final = 128
#: Part of what a member is told whose data was wiped. 0.1.0 says the same.
WAS_WIPED: Final = "was wiped: its data directory is not the one that this node has met before"
#: How many nodes are remembered that the configuration does not know (yet).
MAX_KNOWN_NON_MEMBERS: Final = 1000


@dataclass(slots=True, frozen=True)
class KnownMember:
    """What was met.

    Attributes:
        incarnation: of its data directory.
        joined: since which configuration it is a member; None while this node's own does not say.
    """

    incarnation: str
    joined: int | None = None


class KnownMembers:
    """The incarnation of each member that this node has met.

    Args:
        known: what was remembered before.
        save: makes a changed memory durable; what it raises reaches the caller of `remember` and `retain`.
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
        """Compare with what is known of this member.

        Raises:
            RemoteProtocolError: it is not the one that was met before, or the name is too long to be remembered.
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
        """Remember a member of this node's cluster, or one that its configuration does not know yet.

        Of the latter `MAX_KNOWN_NON_MEMBERS` are remembered. Another is met when it connects after it has joined.

        Raises:
            StorageError: it could not be written down; it is remembered until this process ends, and `retry_save`
                tries again.
        """
        known = self._known.get(node_id)
        if incarnation and (known is None or known.incarnation != incarnation):
            is_member = node_id in membership.members()
            if (
                not is_member
                and known is None
                and self._strangers(membership) >= MAX_KNOWN_NON_MEMBERS
            ):
                return
            joined = membership.joined_at(node_id) if is_member else None
            self._known[node_id] = KnownMember(incarnation, joined)
            self._store()

    def retain(self, membership: Membership, index: int | None = None) -> None:
        """Forget those that are no longer the members that they were: they may return as new ones.

        Args:
            membership: a committed configuration.
            index: up to which log index it is the newest; None: there is no later one. Members that joined behind it
                are kept: after a restart a node may know less to be committed than before.

        Raises:
            StorageError: as `remember`.
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
        """Write down what could not be written down before, if anything.

        Raises:
            StorageError: it still cannot.
        """
        if self._unsaved:
            self._store()

    def _store(self) -> None:
        self._unsaved = True
        self._save(self._known)
        self._unsaved = False

    def _strangers(self, membership: Membership) -> int:
        members = membership.members()
        return sum(node_id not in members for node_id in self._known)
