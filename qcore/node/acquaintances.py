"""Remembers the members that this node has met, so that one whose data was wiped is not taken for itself.

A data directory has an incarnation, drawn when it is made. A member that comes back with another one has
forgotten its votes and its log, and could help to elect two leaders in one term or to lose a committed
entry. So it is refused until it was removed from the cluster and added anew, which makes a new member of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from qcore.errors import RemoteProtocolError, StorageError

FILE_NAME: Final = "peers.json"

_INCARNATIONS: Final = TypeAdapter(dict[int, str])


class Acquaintances:
    """The incarnation of each member that was met, in a small file of the data directory.

    Args:
        directory: the data directory.

    Raises:
        StorageError: the file cannot be read, or was damaged.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._known: dict[int, str] = {}
        try:
            self._known = _INCARNATIONS.validate_json(self._path.read_bytes())
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
        if known is not None and incarnation and incarnation != known:
            raise RemoteProtocolError(
                f"node {node_id} was wiped: its data directory is not the one that this node has met before; "
                f"it has forgotten its votes, so it is refused until node {node_id} was removed from the "
                "cluster and added anew"
            )

    def meet(self, node_id: int, incarnation: str) -> None:
        """Remember a member of the own cluster.

        Raises:
            StorageError: it could not be written down; it is remembered until this process ends.
        """
        if incarnation and self._known.get(node_id) != incarnation:
            self._known[node_id] = incarnation
            self._save()

    def keep_only(self, members: Iterable[int]) -> None:
        """Forget those that are not members any more: they may come back as new ones.

        Raises:
            StorageError: as `meet`.
        """
        kept = {node_id: self._known[node_id] for node_id in members if node_id in self._known}
        if kept != self._known:
            self._known = kept
            self._save()

    def _save(self) -> None:
        fresh = self._path.with_suffix(".new")
        try:
            with open(fresh, "wb") as file:
                file.write(_INCARNATIONS.dump_json(dict(sorted(self._known.items()))))
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self._path)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error.strerror}") from error
