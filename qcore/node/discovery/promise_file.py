"""Reads and writes `founding.json` in the data directory: the promises of a node that may found a cluster.

It is the only memory of the promises, so it is durable before a promise is sent, and has a checksum. A member of a
cluster does not read it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final, Protocol

from pydantic import TypeAdapter, ValidationError

from qcore.errors import StorageError
from qcore.files import read_regular
from qcore.node.discovery.protocol.founding import Promises
from qcore.release import unknown_format
from qcore.storage.files.atomic_file import AtomicFile

FILE_NAME: Final = "founding.json"
_FORMAT: Final = 1
MAX_FILE_BYTES: Final = 64 * 1024
_PROMISES: Final = TypeAdapter(Promises)


class PromiseStore(Protocol):
    """The durable memory of a node's promises."""

    def load(self) -> Promises:
        """The stored promises; those of a node that has promised nothing, if there are none.

        Raises:
            StorageError: they cannot be read.
        """
        ...

    def save(self, promises: Promises) -> None:
        """Store them. They are durable when this returns.

        Raises:
            StorageError: it is unknown whether they are stored.
        """
        ...


class PromiseFile:
    """The file `founding.json` in the data directory.

    Args:
        directory: the data directory, locked by this node.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME

    def load(self) -> Promises:
        """See `PromiseStore`."""
        try:
            return decode_promises(self._path, read_regular(self._path, MAX_FILE_BYTES))
        except FileNotFoundError:
            return Promises()
        except OSError as error:
            raise StorageError(f"{self._path} cannot be read: {error.strerror}") from error

    def save(self, promises: Promises) -> None:
        """See `PromiseStore`."""
        try:
            file = AtomicFile(self._path)
            try:
                file.file.write(_encode(promises))
                file.publish(replace=True)
            finally:
                file.discard()
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error.strerror}") from error


class NoPromises:
    """The memory of a node that founds no cluster."""

    def load(self) -> Promises:
        """See `PromiseStore`."""
        return Promises()

    def save(self, promises: Promises) -> None:
        """See `PromiseStore`."""
        raise StorageError("this node cannot store promises")


def decode_promises(path: Path, content: bytes) -> Promises:
    """The promises in a file.

    Raises:
        StorageError: it is damaged, or a newer qcore wrote it.
    """
    try:
        raw = json.loads(content)
        if not isinstance(raw, dict):
            raise ValueError("not an object")
        if raw.get("format") != _FORMAT and "format" in raw:
            reason = unknown_format(raw["format"], _FORMAT)
            raise StorageError(f"{path} {reason}: start the node with the qcore that wrote it")
        promises = _PROMISES.validate_python(raw["promises"])
        if content != _encode(promises):
            raise ValueError("other bytes than were written")
    except (KeyError, ValidationError, ValueError, RecursionError):
        raise StorageError(
            f"{path} is damaged. It holds what this node has promised to the other founders, so this node can found no "
            "cluster any more. If the others have begun one, give this node an empty data directory, and add it "
            "there. If no node belongs to a cluster yet, stop all, remove this file from each, and start again"
        ) from None
    return promises


def _encode(promises: Promises) -> bytes:
    """The content of the file for these promises."""
    body = _PROMISES.dump_python(promises, mode="json")
    checksum = hashlib.sha256(_json(body)).hexdigest()
    return _json({"format": _FORMAT, "sha256": checksum, "promises": body})


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
