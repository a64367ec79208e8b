"""`KnownMembers` in a small file of the data directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from qcore.errors import StorageError
from qcore.replica.known_members import KnownMember, KnownMembers
from qcore.storage.schema import sync_path

FILE_NAME: Final = "peers.json"

#: A bare text is what version 0.1 wrote at first: an incarnation alone.
_FILE: Final = TypeAdapter(dict[int, KnownMember | str])


def load_known_members(directory: Path) -> KnownMembers:
    """The members that the node with this data directory has met.

    Raises:
        StorageError: the file cannot be read, or was damaged.
    """
    path = directory / FILE_NAME
    known: dict[int, KnownMember] = {}
    try:
        for node_id, met in _FILE.validate_json(path.read_bytes()).items():
            known[node_id] = KnownMember(met) if isinstance(met, str) else met
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError:
        raise StorageError(
            f"{path} is damaged. It only remembers which members this node has met: make sure that "
            "no member's data was wiped lately, and delete it"
        ) from None
    return KnownMembers(known, partial(_save, path))


def _save(path: Path, known: Mapping[int, KnownMember]) -> None:
    fresh = path.with_suffix(".new")
    try:
        with open(fresh, "wb") as file:
            file.write(_FILE.dump_json({**dict(sorted(known.items()))}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    sync_path(path.parent)
