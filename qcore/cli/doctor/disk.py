"""The disk of the data directory: its file system, its space, how long a sync takes, and who can read the files."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from qcore.cli.doctor.finding import Finding, ok, problem, warning
from qcore.display import printable
from qcore.node.peers.node_key_file import KEY_FILE_NAME
from qcore.percentiles import percentile
from qcore.storage.files.synced_files import readable_by_others

#: File systems of other computers. A lock may not hold there, and a sync may not reach the disk.
_NETWORK: Final = {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4"}
_NETWORK_MORE: Final = {"ncpfs", "smb2", "smb3", "smbfs", "sshfs", "fuse.glusterfs", "fuse.sshfs"}
_MEMORY: Final = {"ramfs", "tmpfs"}
_LAYERS: Final = {"aufs", "overlay"}

#: A special character in the name of a mount.
_OCTAL: Final = re.compile(r"\\([0-7]{3})")

#: The disk, or the share of this user, is full.
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
#: Less free space is a problem, bytes.
_LEAST_FREE: Final = _GIB // 4
#: Less free space is a warning, bytes.
_FEW_FREE: Final = 2 * _GIB

#: The number of writes that are measured, and their size, bytes.
_WRITES: Final = 200
_BYTES: Final = 4096
#: A slow disk is measured with fewer writes, within this time, seconds.
_LONGEST_S: Final = 3.0
#: After these writes the file has its place on the disk.
_WARM_UP: Final = 3


def disk_findings(data_dir: Path, heartbeat_ms: int, min_free_bytes: int = 0) -> Iterator[Finding]:
    """Examine the disk of a data directory, which need not exist yet.

    Args:
        data_dir: the data directory.
        heartbeat_ms: the heartbeat interval of the node.
        min_free_bytes: with less free space, the node rejects commands; 0: it has no such quota.
    """
    folder = data_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        yield problem("data directory", f"{folder} is not a folder", "give another --data-dir")
        return
    yield from _file_system(folder)
    yield from _space(folder, min_free_bytes)
    if os.access(folder, os.W_OK | os.X_OK):
        yield _sync(folder, heartbeat_ms)
    else:
        yield problem(
            "data directory",
            f"this user ({os.geteuid()}) cannot write to {folder}",
            "run doctor as the user of the node, or give it the folder: chown",
        )
    if folder == data_dir:
        yield _modes(data_dir)


def _file_system(folder: Path) -> Iterator[Finding]:
    found = file_system_of(folder)
    if found is None:
        return
    kind, mount = found
    text = f"{kind} at {mount}"
    if kind in _NETWORK | _NETWORK_MORE:
        yield warning(
            "file system",
            f"{text}, on another computer",
            "use a local disk: locks and syncs of network file systems are not reliable",
        )
    elif kind in _MEMORY:
        yield problem("file system", f"{text}, in memory", "use a disk: a restart loses the data")
    elif kind in _LAYERS:
        yield warning(
            "file system",
            f"{text}, a layer of a container",
            "mount a volume: the data ends with the container",
        )
    else:
        yield ok("file system", text)


def file_system_of(folder: Path, mounts: str | None = None) -> tuple[str, str] | None:
    """The type of the file system that holds a folder, and where it is mounted; None if the system does not say.

    Args:
        folder: the folder.
        mounts: the text of /proc/self/mountinfo; by default that of this process.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
    best: tuple[int, str, str] | None = None
    place = folder.resolve()
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        # Spaces and other special characters are octal there.
        mount = _OCTAL.sub(lambda code: chr(int(code[1], 8)), before.split(" ")[4])
        # Of two mounts at one place the later one counts.
        if place.is_relative_to(mount) and (best is None or len(mount) >= best[0]):
            best = len(mount), after.split(" ")[0], mount
    return None if best is None else best[1:]


def _space(folder: Path, min_free_bytes: int) -> Iterator[Finding]:
    found = os.statvfs(folder)
    free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    text = f"{_shown(free)} of {_shown(size)} are free"
    advice = "make space, or use a larger disk: a node with a full disk accepts no writes"
    if free < min_free_bytes:
        yield problem(
            "disk space",
            f"{text}, less than min_free_disk_bytes ({_shown(min_free_bytes)})",
            advice,
        )
    elif free < _LEAST_FREE:
        yield problem("disk space", text, advice)
    elif free < _FEW_FREE or free < size / 20:
        yield warning("disk space", text, advice)
    else:
        yield ok("disk space", text)


def _shown(size: int) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / _MIB:.1f} MiB"


def _sync(folder: Path, heartbeat_ms: int) -> Finding:
    try:
        times = sync_times_s(folder)
    except OSError as error:
        advice = "make space" if error.errno in _FULL else "repair or replace the disk"
        return problem("disk sync", f"{folder}: {error.strerror}", advice)
    p50, p99 = (1000 * percentile(times, percent) for percent in (50, 99))
    text = f"{len(times)} syncs: p50 {p50:.2f} ms, p99 {p99:.2f} ms"
    advice = (
        f"use a faster disk, one that nothing else uses; or raise heartbeat_ms ({heartbeat_ms})"
    )
    if p99 >= heartbeat_ms:
        return problem("disk sync", f"{text}, longer than a heartbeat interval", advice)
    if p99 >= heartbeat_ms / 2:
        return warning("disk sync", f"{text}, half a heartbeat interval or more", advice)
    return ok("disk sync", text)


def sync_times_s(folder: Path, writes: int = _WRITES) -> list[float]:
    """How long writes of 4 KiB take until they are on the disk of this folder, seconds, ascending.

    The file has no name, so it never stays behind.

    Raises:
        OSError: the disk failed, or is full.
    """
    times: list[float] = []
    block = os.urandom(_BYTES)
    end = time.monotonic() + _LONGEST_S
    with tempfile.TemporaryFile(dir=folder) as file:
        while len(times) < writes + _WARM_UP and (time.monotonic() < end or len(times) <= _WARM_UP):
            begin = time.perf_counter()
            os.write(file.fileno(), block)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    return sorted(times[_WARM_UP:])


def _modes(data_dir: Path) -> Finding:
    names = readable_by_others(data_dir)
    if names:
        text = f"other users can read {', '.join(map(printable, names))}"
        if KEY_FILE_NAME in names:
            text = f"{text}: the secret key of the node is among them"
            advice = (
                f"chmod 700 {data_dir}; replace this member if another user may have read the key"
            )
            return problem("file modes", text, advice)
        return warning("file modes", text, f"chmod 700 {data_dir}")
    status = data_dir.stat()
    if status.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0:
        return problem(
            "file modes",
            f"{data_dir} belongs to user {status.st_uid}, and this is user {os.geteuid()}",
            "run the node as the owner, or chown",
        )
    mode = stat.S_IMODE(status.st_mode)
    return ok("file modes", f"{data_dir} has mode {mode:04o}, and only its owner reads the files")
