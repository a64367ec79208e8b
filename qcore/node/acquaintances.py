"""Remembers the members that this node has met, so that one whose data was wiped is not taken for itself.

A data directory has an incarnation, drawn when it is made. A member that comes back with another one has
forgotten its votes and its log, and could help to elect two leaders in one term or to lose a committed
entry. So it is refused until it was removed from the cluster and added anew, which makes a new member of it: one with
another index in `Membership.joined`, also for a node that saw nothing of that but the snapshot behind it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from qcore.core.entry import Membership
from qcore.errors import RemoteProtocolError, StorageError
from qcore.storage.schema import sync_path

FILE_NAME: Final = "peers.json"


@dataclass(slots=True, frozen=True)
class Acquaintance:
    """What was met.

    Attributes:
        incarnation: of its data directory.
        joined: since which configuration it is a member; None while this node's own does not say.
    """

    incarnation: str
    joined: int | None = None


#: A bare text is what version 0.1 wrote at first: an incarnation alone.
_FILE: Final = TypeAdapter(dict[int, Acquaintance | str])


class Acquaintances:
    """The incarnation of each member that was met, in a small file of the data directory.

    Args:
        directory: the data directory.

    Raises:
        StorageError: the file cannot be read, or was damaged.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._known: dict[int, Acquaintance] = {}
        try:
            for node_id, met in _FILE.validate_json(self._path.read_bytes()).items():
                self._known[node_id] = Acquaintance(met) if isinstance(met, str) else met
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StorageError(f"{self._path} cannot be read: {error.strerror}") from error
        except ValidationError:
            raise StorageError(
                f"{self._path} is damaged. It only remembers which members this node has met: make sure that "
                "no member's data was wiped lately, and delete it"
            ) from None

    def check(self, node_id: int, incarnation: str) -> None:
        """Compare with what is known of this member.

        Raises:
            RemoteProtocolError: it is not the one that was met before.
        """
        known = self._known.get(node_id)
        if known is not None and incarnation and incarnation != known.incarnation:
            raise RemoteProtocolError(
                f"node {node_id} was wiped: its data directory is not the one that this node has met before; "
                f"it has forgotten its votes, so it is refused until node {node_id} was removed from the "
                "cluster and added anew"
            )

    def meet(self, node_id: int, incarnation: str, membership: Membership) -> None:
        """Remember a member of the own cluster, or one that the own configuration does not know yet.

        Raises:
            StorageError: it could not be written down; it is remembered until this process ends.
        """
        known = self._known.get(node_id)
        if incarnation and (known is None or known.incarnation != incarnation):
            is_member = node_id in membership.members()
            joined = membership.joined_at(node_id) if is_member else None
            self._known[node_id] = Acquaintance(incarnation, joined)
            self._save()

    def follow(self, membership: Membership, index: int | None = None) -> None:
        """Forget those that are not the members any more that they were: they may come back as new ones.

        Args:
            membership: a committed configuration.
            index: up to which log index it is the newest; None: there is no later one. Whoever joined behind that is
                kept: after a restart a node may know less to be committed than before.

        Raises:
            StorageError: as `meet`.
        """
        kept: dict[int, Acquaintance] = {}
        members = membership.members()
        for node_id, known in self._known.items():
            joined = membership.joined_at(node_id)
            if index is not None and (known.joined or 0) > index:
                kept[node_id] = known
            elif node_id in members and known.joined in (None, joined):
                kept[node_id] = Acquaintance(known.incarnation, joined)
        if kept != self._known:
            self._known = kept
            self._save()

    def _save(self) -> None:
        fresh = self._path.with_suffix(".new")
        try:
            with open(fresh, "wb") as file:
                file.write(_FILE.dump_json({**dict(sorted(self._known.items()))}))
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self._path)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error.strerror}") from error
        sync_path(self._path.parent)
