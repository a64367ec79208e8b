"""Reads and writes `peers.json` in the data directory: the `KnownMembers` of a node, with a checksum.

The file is JSON: the id of each known member, with its incarnation and more. Version 0.1.0 reads and writes the same
file, without a checksum. So the checksum is stored where 0.1.0 takes it for one more member, with id 0, which no node
has. 0.1.0 forgets that member with the next configuration:

    {"0":"sha256:...","2":{"incarnation":"...","joined":5},"3":{"incarnation":"...","joined":5}}

A later format begins with `{"format":2`.

The SHA-256 is that of the file without the checksum's pair. A file is intact only if its bytes are exactly those that
this module would write for its members. A file that 0.1.0 wrote has no checksum; reading it adds one.
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
from qcore.release import unknown_format
from qcore.replica.peers.known_members import KnownMember, KnownMembers
from qcore.storage.files.synced_files import create_private_file, sync_path

FILE_NAME: Final = "peers.json"
#: The most bytes of the file. A member takes about 80 bytes, and `KnownMembers` bounds their number.
MAX_FILE_BYTES: Final = 4 << 20

#: Loads the known members: `load_known_members`, or another with its arguments.
LoadKnownMembers = Callable[[Path, Collection[int], Callable[[str], None]], KnownMembers]

#: The file does not name its format, because 0.1.0 reads it, too.
_FORMAT: Final = 1
#: The checksum is stored under this id, which no node has.
_CHECKSUM_ID: Final = 0
_CHECKSUM: Final = "sha256:"
#: A string is an incarnation alone, as early versions wrote it, or the checksum.
_FILE: Final = TypeAdapter(dict[int, KnownMember | str])


def load_known_members(
    directory: Path,
    others: Collection[int] = (),
    warn: Callable[[str], None] = lambda _text: None,
) -> KnownMembers:
    """The known members of the node with this data directory. Creates the file if it is missing.

    Args:
        directory: the data directory.
        others: the ids of the other members, from the node's log.
        warn: called if the file is missing although there are others, whose incarnations are then forgotten. Also
            called if the file was missing or had no checksum, and cannot be written.

    Raises:
        StorageError: the file cannot be read, or is damaged.
    """
    path = directory / FILE_NAME
    save = partial(_save, path)
    try:
        known, is_checked = decode_known_members(path, read_regular(path, MAX_FILE_BYTES))
    except FileNotFoundError:
        known, is_checked = {}, False
        if others:
            names = ", ".join(map(str, sorted(others)))
            warn(
                f"{path} is missing: this node has forgotten which data directories the members {names} have. It "
                "takes the next nodes that it meets under these ids for them, even one whose data was wiped and that "
                "has forgotten its votes. If a member was wiped, stop it, remove it and add it again"
            )
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    if not is_checked:
        try:
            save(known)
        except StorageError as error:
            warn(
                str(error)
            )  # for example a full disk: the next change is saved, or reports the failure
    return KnownMembers(known, save)


def decode_known_members(path: Path, content: bytes) -> tuple[dict[int, KnownMember], bool]:
    """The members in a file, and whether it has a checksum.

    Raises:
        StorageError: it is damaged, or a newer qcore wrote it.
    """
    try:
        raw = json.loads(content, object_pairs_hook=_distinct)
        _check_format(path, raw)
        found = _FILE.validate_python(raw)
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
    # The file has no checksum, or one that 0.1.0 read and wrote back as if it were a member.
    if any(member.incarnation.startswith(_CHECKSUM) for member in known.values()):
        raise _damaged(path, "its checksum is not where it should be")
    return known, False


def _check_format(path: Path, raw: object) -> None:
    """Refuse a file of a newer format.

    Raises:
        StorageError: a newer qcore wrote it.
    """
    if isinstance(raw, dict) and "format" in raw:
        reason = unknown_format(raw["format"], _FORMAT)
        raise StorageError(f"{path} {reason}: start the node with the qcore that wrote it")


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build a JSON object; reject duplicate names. A duplicate shows damage: one changed bit turns "0" into "2".

    Raises:
        ValueError: a name occurs twice.
    """
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name occurs twice")
    return names


def _damaged(path: Path, why: str) -> StorageError:
    return StorageError(
        f"{path} is damaged: {why}. It records which data directory each member has, so that a member whose data was "
        "wiped is recognised; nothing else is lost. If no other member was wiped since this node ran last, move the "
        "file away and start again: this node then trusts the members as they are. If one was wiped, stop it, remove "
        "it from the cluster, move the file away, start this node, and add the other again"
    )


def _encode(known: Mapping[int, KnownMember]) -> bytes:
    """The content of the file for these members."""
    members = {
        str(node_id): {"incarnation": met.incarnation, "joined": met.joined}
        for node_id, met in sorted(known.items())
    }
    checksum = _CHECKSUM + hashlib.sha256(_json(members)).hexdigest()
    return _json({str(_CHECKSUM_ID): checksum, **members})


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _save(path: Path, known: Mapping[int, KnownMember]) -> None:
    """Replace the file durably: after a crash it is the old one or the new one."""
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
