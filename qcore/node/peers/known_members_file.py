"""`KnownMembers` in a small file of the data directory.

The file is JSON: the id of each member that was met, and what was met. Version 0.1.0 reads and writes it too, without a
checksum, while it can go on with the directory. So the checksum is where 0.1.0 takes it for one more member, of id
0, which no node has; it forgets that member with the next configuration:

    {"0":"sha256:...","2":{"incarnation":"...","joined":5},"3":{"incarnation":"...","joined":5}}

The SHA-256 is that of the file without the pair. The file must be exactly what the members in it are written as:
whatever reads differently was changed. A file that 0.1.0 wrote has no checksum, and gets one as soon as it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from qcore.errors import StorageError
from qcore.files import read_regular
from qcore.replica.peers.known_members import KnownMember, KnownMembers
from qcore.storage.files.synced_files import create_private_file, sync_path

FILE_NAME: Final = "peers.json"
#: A larger file is not read. A member takes some 80 bytes, and `KnownMembers` bounds what it remembers.
MAX_FILE_BYTES: Final = 4 << 20

#: No node has this id: what stands under it is the checksum.
_CHECKSUM_ID: Final = 0
_CHECKSUM: Final = "sha256:"
#: A bare text is an incarnation alone, as version 0.1 wrote at first; or the checksum.
_FILE: Final = TypeAdapter(dict[int, KnownMember | str])


def load_known_members(
    directory: Path,
    others: Collection[int] = (),
    warn: Callable[[str], None] = lambda _text: None,
) -> KnownMembers:
    """The members that the node with this data directory has met. Makes the file if it is missing.

    Args:
        directory: the data directory.
        others: the other members of the node's cluster, as its log says.
        warn: called if the file is missing and there are others: what they were is forgotten. Also if a file that was
            missing, or had no checksum, could not be written.

    Raises:
        StorageError: the file cannot be read, or was damaged.
    """
    path = directory / FILE_NAME
    save = partial(_save, path)
    try:
        known, is_checked = _decode(path, read_regular(path, MAX_FILE_BYTES))
    except FileNotFoundError:
        known, is_checked = {}, False
        if others:
            names = ", ".join(map(str, sorted(others)))
            warn(
                f"{path} is missing: this node has forgotten which data directories the members {names} have. The "
                "next that it meets under these ids are taken for them, also one whose data was wiped and that "
                "has forgotten its votes. If a member was wiped, stop it, remove it and add it again"
            )
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    if not is_checked:
        try:
            save(known)
        except StorageError as error:
            warn(str(error))  # a full disk, for one: the next change is saved, or says so
    return KnownMembers(known, save)


def _decode(path: Path, content: bytes) -> tuple[dict[int, KnownMember], bool]:
    """The members in a file, and whether it has a checksum.

    Raises:
        StorageError: it was damaged.
    """
    try:
        found = _FILE.validate_python(json.loads(content, object_pairs_hook=_distinct))
    except (ValidationError, ValueError, RecursionError):
        raise _damaged(path, "it is not the JSON that was written") from None
    checksum = found.pop(_CHECKSUM_ID, None)
    known = {
        node_id: KnownMember(met) if isinstance(met, str) else met for node_id, met in found.items()
    }
    if isinstance(checksum, str):
        if content != _encode(known):
            raise _damaged(path, "its checksum is wrong")
        return known, True
    # Without a checksum, or with one that 0.1.0 has read and written as if it were a member.
    if any(member.incarnation.startswith(_CHECKSUM) for member in known.values()):
        raise _damaged(path, "its checksum is not where it should be")
    return known, False


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object. A name that comes twice is one that was changed: a bit makes "2" of "0".

    Raises:
        ValueError: a name comes twice.
    """
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name comes twice")
    return names


def _damaged(path: Path, why: str) -> StorageError:
    return StorageError(
        f"{path} is damaged: {why}. It says which data directory each member has, by which a member is known whose "
        "data was wiped; nothing else is lost. If no other member was wiped since this node ran last, move the "
        "file away and start again: the members are then taken for who they say they are. If one was, stop it, remove "
        "it from the cluster, move the file away, start this node, and add the other again"
    )


def _encode(known: Mapping[int, KnownMember]) -> bytes:
    """The one way in which the members are written."""
    members = {
        str(node_id): {"incarnation": met.incarnation, "joined": met.joined}
        for node_id, met in sorted(known.items())
    }
    checksum = _CHECKSUM + hashlib.sha256(_json(members)).hexdigest()
    return _json({str(_CHECKSUM_ID): checksum, **members})


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _save(path: Path, known: Mapping[int, KnownMember]) -> None:
    """Replace the file, durably: it is the old one or the new one."""
    content = _encode(known)
    if len(content) > MAX_FILE_BYTES:
        raise StorageError(
            f"{path} cannot be written: {len(known)} members would take {len(content)} bytes, the limit is "
            f"{MAX_FILE_BYTES}"
        )
    fresh = path.with_suffix(".new")
    try:
        with os.fdopen(create_private_file(fresh), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    sync_path(path.parent)
