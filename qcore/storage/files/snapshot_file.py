r"""A snapshot in a file: a backup of a cluster's state that outlives the cluster.

The first line is JSON and describes the content. The snapshot's text follows as UTF-8, up to the end of the file:

    {"format":"qcore-snapshot","version":2,"cluster_id":...,"header_sha256":"..."}\n
    <size bytes of text>

The header's keys are the fields of `SnapshotHeader`, after `format` and `version` and before `header_sha256`. That key
is the SHA-256 of the line without it, so every flipped bit is detected. `head -1 FILE` shows the header, and
`tail -n +2 FILE | sha256sum` computes its `sha256`.

A file appears only when it is complete (`qcore.storage.files.atomic_file`): until then the target stays as it was.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from qcore.core.entry import Membership
from qcore.core.log.compressed_text import SnapshotText
from qcore.core.log.growing_text import TextBuilder
from qcore.core.version import FIRST_VERSION, SINCE_RULES_2, VERSION_SINCE_RULES_2, ClusterVersion
from qcore.errors import ConfigError, SnapshotFileError
from qcore.files import open_regular
from qcore.release import unknown_format
from qcore.storage.files.atomic_file import AtomicFile

FORMAT: Final = "qcore-snapshot"
#: Version 2 adds the cluster clock and the cluster version. A backup of a cluster with the rules of 0.1.0 has neither
#: and is written as version 1.
VERSION: Final = 2
#: A header has a few hundred bytes. A longer line than this is not a header.
MAX_HEADER_BYTES: Final = 1 << 20
#: Bytes to read at a time.
READ_BYTES: Final = 1 << 20

_SAVE_AGAIN = "save the snapshot again, or use another backup"


@with_config(ConfigDict(extra="forbid", strict=True))
@dataclass(slots=True, frozen=True)
class SnapshotHeader:
    """Describes the content of a snapshot file.

    Attributes:
        cluster_id: whose state it is.
        last_included_index, last_included_term, last_included_time_us: of the last log entry that the state includes.
        membership: the configuration at that entry, with the members' addresses.
        size: length of the text, bytes.
        sha256: digest of the text.
        last_included_clock_us: the cluster clock at the last entry, microseconds.
        cluster_version: the cluster version at that entry.
    """

    cluster_id: str
    last_included_index: int
    last_included_term: int
    last_included_time_us: int
    membership: Membership
    size: int
    sha256: str
    last_included_clock_us: int = field(default=0, metadata=SINCE_RULES_2)
    cluster_version: ClusterVersion = field(default=FIRST_VERSION, metadata=VERSION_SINCE_RULES_2)

    @property
    def format_version(self) -> int:
        """The version of the file's format: the oldest one that can hold this header."""
        return VERSION if self.last_included_clock_us or self.cluster_version.machine else 1

    def line(self) -> bytes:
        """The first line of the file, with its newline."""
        fields = {
            "format": FORMAT,
            "version": self.format_version,
            **_header_adapter().dump_python(self, mode="json"),
        }
        return _encode({**fields, "header_sha256": _digest(fields)}) + b"\n"


@cache
def _header_adapter() -> TypeAdapter[SnapshotHeader]:
    return TypeAdapter(SnapshotHeader)


def _encode(fields: dict[str, object]) -> bytes:
    """The only way to write a header. A header that differs from it was changed."""
    return json.dumps(fields, separators=(",", ":")).encode()


def _digest(fields: dict[str, object]) -> str:
    return hashlib.sha256(_encode(fields)).hexdigest()


class SnapshotFileWriter:
    """Writes one file, as a context manager. `finish` makes the target appear; without it nothing appears.

    Args:
        target: the file to create.
        header: describes the text; `finish` checks the text against it.
        force: replace the target if it exists.

    Raises:
        ConfigError: the target exists.
        SnapshotFileError: the file cannot be written there.
    """

    def __init__(self, target: Path, header: SnapshotHeader, *, force: bool = False) -> None:
        self._target = target
        self._force = force
        self._header = header
        self._size = 0
        self._digest = hashlib.sha256()
        line = header.line()
        try:
            self._new = AtomicFile(check_target(target, force=force))
            try:
                self._new.file.write(line)
            except BaseException:
                self._new.discard()
                raise
        except OSError as error:
            raise _file_error("write", target, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the unfinished file unless `finish` has succeeded."""
        self._new.discard()

    def write(self, text: str) -> None:
        """Append a part of the text.

        Raises:
            SnapshotFileError: the file cannot be written.
        """
        data = text.encode()
        self._digest.update(data)
        self._size += len(data)
        try:
            self._new.file.write(data)
        except OSError as error:
            raise _file_error("write", self._target, error) from error

    def finish(self) -> None:
        """Make the file durable and give it its name.

        Raises:
            SnapshotFileError: the text does not match the header, or the disk failed.
            ConfigError: the target was created in the meantime.
        """
        self._check()
        try:
            self._new.publish(replace=self._force)
        except FileExistsError:
            raise _exists(self._target) from None
        except OSError as error:
            raise _file_error("write", self._target, error) from error

    def _check(self) -> None:
        if self._size != self._header.size:
            raise SnapshotFileError(
                f"{self._target}: {self._size} bytes arrived, {self._header.size} were promised; nothing was kept: "
                "try again"
            )
        if self._digest.hexdigest() != self._header.sha256:
            raise SnapshotFileError(
                f"{self._target}: the state does not have the checksum that was promised; nothing was kept: try again"
            )


def check_target(target: Path, *, force: bool) -> Path:
    """Refuse a target that cannot be written, before anything is written.

    Returns:
        the file to write. For a symbolic link it is the file that the link leads to, so the link stays.

    Raises:
        ConfigError: it exists and may not be replaced.
        SnapshotFileError: it is a directory, a device or the like, or a link to nothing, or its directory is missing.
    """
    try:
        file = _destination(target) if target.is_symlink() else target
        if file.is_dir():
            raise SnapshotFileError(f"{target} is a directory: name a file in it")
        if file.exists() and not file.is_file():
            # The file gets its name by renaming: that would replace a device such as `/dev/null`.
            raise SnapshotFileError(f"{target} is not a regular file: give the name of one")
        if not file.parent.is_dir():
            raise SnapshotFileError(f"{target}: {file.parent} is not a directory: make it first")
        if not force and os.path.lexists(target):
            raise _exists(target)
    except OSError as error:
        raise _file_error("write", target, error) from error
    return file


def _destination(link: Path) -> Path:
    """Return where a symbolic link finally leads.

    Raises:
        SnapshotFileError: it leads nowhere.
    """
    try:
        return Path(os.path.realpath(link, strict=True))
    except OSError as error:
        if error.errno == errno.ELOOP:
            where = "itself"
        elif error.errno in (errno.ENOENT, errno.ENOTDIR):
            where = f"{os.readlink(link)}, which is not there"
        else:
            raise
        raise SnapshotFileError(
            f"{link} is a symbolic link to {where}: remove it, or give another name"
        ) from None


def verify(path: Path) -> SnapshotHeader:
    """Read the whole file part by part and check it against its checksums.

    Raises:
        SnapshotFileError: the file differs from what was written; the text names the difference.
    """
    return _read_checked(path, lambda part: None)


def read_snapshot(path: Path) -> tuple[SnapshotHeader, SnapshotText]:
    """Read and check the whole file. Returns the header and the text.

    Raises:
        SnapshotFileError: the file differs from what was written; the text names the difference.
    """
    text = TextBuilder()
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        header = _read_checked(path, lambda part: text.add(decoder.decode(part)))
        text.add(decoder.decode(b"", final=True))
    except UnicodeDecodeError as error:
        raise SnapshotFileError(
            f"{path}: the state is not UTF-8 text: {error}: {_SAVE_AGAIN}"
        ) from error
    return header, text.build()


def _read_checked(path: Path, take: Callable[[bytes], None]) -> SnapshotHeader:
    """Pass the state to `take`, part by part, and check the file at the end.

    Raises:
        SnapshotFileError: the file differs from what was written; the text names the difference.
    """
    with _opened(path) as file:
        header = _header(path, file)
        try:
            _check_size(path, os.fstat(file.fileno()).st_size - file.tell(), header.size)
            # Do not read up to the end of the file: if another process appends to it, that may never come.
            size, digest = 0, hashlib.sha256()
            while part := file.read(min(READ_BYTES, header.size - size)):
                size += len(part)
                digest.update(part)
                take(part)
            _check_size(path, os.fstat(file.fileno()).st_size - file.tell() + size, header.size)
        except OSError as error:
            raise _file_error("read", path, error) from error
    if digest.hexdigest() != header.sha256:
        raise SnapshotFileError(
            f"{path}: the state was changed: its sha256 is {digest.hexdigest()}, it was {header.sha256} when it "
            f"was written: {_SAVE_AGAIN}"
        )
    return header


def _check_size(path: Path, size: int, expected: int) -> None:
    """Check the size before the state is read: a wrong size needs no checksum."""
    if size < expected:
        raise SnapshotFileError(
            f"{path} was cut short: {size} of {expected} bytes of the state are there: {_SAVE_AGAIN}"
        )
    if size > expected:
        raise SnapshotFileError(
            f"{path}: {size - expected} bytes follow the {expected} bytes of the state: {_SAVE_AGAIN}"
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        file = open_regular(path)
    except OSError as error:
        raise _file_error("read", path, error) from error
    with file:
        yield file


def _header(path: Path, file: IO[bytes]) -> SnapshotHeader:
    """Read the first line and check it."""
    try:
        line = file.readline(MAX_HEADER_BYTES)
    except OSError as error:
        raise _file_error("read", path, error) from error
    if not line:
        raise SnapshotFileError(f"{path} is empty: {_SAVE_AGAIN}")
    fields = _fields(line)
    if fields is None or fields.get("format") != FORMAT:
        if FORMAT.encode() in line:
            raise SnapshotFileError(
                f"{path}: the header was cut short or changed: it cannot be read: {_SAVE_AGAIN}"
            )
        raise SnapshotFileError(
            f"{path} is not a snapshot file: its first line is not a header (or was changed)"
        )
    digest = fields.pop("header_sha256", None)
    whole = {**fields, "header_sha256": digest}
    if digest != _digest(fields) or line != _encode(whole) + b"\n":
        raise SnapshotFileError(
            f"{path}: the header was changed: it does not have its checksum: {_SAVE_AGAIN}"
        )
    version = fields.pop("version", None)
    if version not in range(1, VERSION + 1):
        raise SnapshotFileError(
            f"{path} {unknown_format(version, VERSION)}: use the qcore that wrote it"
        )
    del fields["format"]
    try:
        return _header_adapter().validate_json(_encode(fields))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise SnapshotFileError(
            f"{path}: the header is invalid at {where!r}: {error.errors()[0]['msg']}"
        ) from error


def _fields(line: bytes) -> dict[str, object] | None:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _exists(target: Path) -> ConfigError:
    return ConfigError(
        f"{target} exists: give another name, or allow it to be replaced with --force"
    )


def _file_error(action: str, path: Path, error: OSError) -> SnapshotFileError:
    return SnapshotFileError(f"cannot {action} {path}: {error.strerror or error}")
