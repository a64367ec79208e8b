"""A custom storage: a node's whole durable state in one JSON file, which each write replaces.

It suits a small log on any file system, and is slow for a large one. `test_json_storage.py` runs qcore's suite on it.
"""

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from zlib import crc32

from pydantic import TypeAdapter, ValidationError

from qcore import DataDirLocked, LogCorrupt, StorageError
from qcore.core import DurableState
from qcore.core.effects import Write
from qcore.storage import Identity, LogOutline, apply_write, last_index


@dataclass
class Content:
    """The content of the file."""

    identity: Identity
    state: DurableState = field(default_factory=DurableState)


_CONTENT = TypeAdapter(Content)


class JsonStorage:
    """A `LogStorage` in `<directory>/log.json`: a checksum, then the content."""

    def __init__(self, directory: Path, node_id: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "log.json"
        self._directory = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(self._directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._content = self._read(node_id)
            self._outline = LogOutline.of(self._content.state)
        except BlockingIOError:
            os.close(self._directory)
            raise DataDirLocked(f"{directory} is in use by another process: stop it") from None
        except BaseException:
            os.close(self._directory)
            raise
        self._closed = False

    def identity(self) -> Identity:
        return self._content.identity

    def join_cluster(self, cluster_id: str) -> None:
        self._require_open()
        known = self._content.identity.cluster_id
        if known not in (None, cluster_id):
            raise StorageError(f"{self._path} belongs to cluster {known!r}, not {cluster_id!r}")
        identity = Identity(self._content.identity.node_id, cluster_id)
        self._replace(replace(self._content, identity=identity))

    def load(self) -> DurableState:
        self._require_open()
        state = self._content.state
        commit = min(state.hard_state.commit, last_index(state))
        hard_state = replace(state.hard_state, commit=commit)
        return DurableState(hard_state, state.snapshot, list(state.entries))

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        self._require_open()
        outline = self._outline.after(writes)  # ValueError: a write does not fit
        old = self._content.state
        state = DurableState(replace(old.hard_state), old.snapshot, list(old.entries))
        for write in writes:
            apply_write(state, write)
        state.hard_state.commit = max(state.hard_state.commit, commit or 0)
        self._replace(replace(self._content, state=state))
        self._outline = outline

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._directory)  # this also releases the lock

    def _read(self, node_id: int) -> Content:
        begun = self._path.with_suffix(".begun")
        if not self._path.exists():
            if begun.exists():
                raise LogCorrupt(f"{self._path} is missing: restore it, or start a new node")
            content = Content(Identity(node_id, None))
            self._replace(content)
            begun.touch()
            os.fsync(self._directory)
            return content
        checksum, _, text = self._path.read_bytes().partition(b"\n")
        if checksum != b"%08x" % crc32(text):
            raise LogCorrupt(f"{self._path} is damaged: its checksum is wrong")
        try:
            content = _CONTENT.validate_json(text)
        except ValidationError as error:
            raise LogCorrupt(f"{self._path} is not a log: {error}") from None
        if content.identity.node_id != node_id:
            raise StorageError(f"{self._path} belongs to node {content.identity.node_id}")
        return content

    def _replace(self, content: Content) -> None:
        """Write a new file and replace the old one by it: a crash leaves one or the other."""
        text = _CONTENT.dump_json(content)
        new = self._path.with_suffix(".new")
        try:
            with open(new, "wb") as file:
                file.write(b"%08x\n" % crc32(text) + text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self._path)
            os.fsync(self._directory)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error.strerror}") from error
        self._content = content

    def _require_open(self) -> None:
        if self._closed:
            raise StorageError(f"{self._path} is closed")
