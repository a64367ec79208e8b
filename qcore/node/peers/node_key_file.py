"""The file `node.key` in a data directory: the seed of the node's key pair, and its public key.

    ed25519-seed:...
    ed25519:...

Only the owner may read it: a node takes away the rights of others when it starts, and follows no symbolic link. The
second line shows damage: it must be the public key of the seed.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from qcore.errors import StorageError
from qcore.files import read_regular
from qcore.security.keys.node_key import SEED_BYTES, NodeKey, from_base64url, to_base64url
from qcore.storage.files.atomic_file import AtomicFile
from qcore.storage.files.directory_lock import DirectoryLock
from qcore.storage.sqlite.creation import make_directory

KEY_FILE_NAME: Final = "node.key"
_SEED_PREFIX: Final = "ed25519-seed:"
#: A later kind of key has another name here.
_OTHER_KIND: Final = re.compile(r"[a-z0-9-]{2,32}-seed:")
_MAX_BYTES: Final = 4096


#: Loads the key of a node: `load_or_create_key`, or another with its arguments.
LoadNodeKey = Callable[[Path, Callable[[int], bytes], str | None], NodeKey]


def load_or_create_key(
    directory: Path, random_bytes: Callable[[int], bytes], configured: str | None = None
) -> NodeKey:
    """The key of the node with this data directory. A directory without one gets one.

    The caller holds the lock of the directory.

    Args:
        directory: the data directory.
        random_bytes: see `qcore.runtime.interface.Runtime`.
        configured: the node's public key in the configuration on its disk, if it has one there.

    Raises:
        StorageError: the file is damaged, or missing though the cluster knows its key, or cannot be read or written.
    """
    key = load_key(directory)
    if key is not None:
        return key
    if configured is not None:
        raise StorageError(
            f"{directory / KEY_FILE_NAME} is missing, and the members know this node by its key: bring the file back "
            "from a copy; or remove the node from the cluster, give it an empty data directory, and add it again"
        )
    key = NodeKey(random_bytes(SEED_BYTES))
    path = directory / KEY_FILE_NAME
    try:
        file = AtomicFile(path)
        try:
            file.file.write(f"{_SEED_PREFIX}{to_base64url(key.seed)}\n{key.public}\n".encode())
            file.publish(replace=False)
        finally:
            file.discard()
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    return key


def create_key(directory: Path, random_bytes: Callable[[int], bytes]) -> NodeKey:
    """The key of the node that will use this data directory, which is made if it is missing. No node may run on it.

    Raises:
        StorageError: a node runs on the directory, or it or its key cannot be made or read.
    """
    make_directory(directory)
    lock = DirectoryLock(directory)
    try:
        return load_or_create_key(directory, random_bytes)
    finally:
        lock.release()


def load_key(directory: Path) -> NodeKey | None:
    """The key in a data directory; None if there is none yet.

    Raises:
        StorageError: the file is damaged, or cannot be read, or a newer qcore wrote it.
    """
    key = read_key(directory)
    if key is not None:
        _keep_private(directory / KEY_FILE_NAME)
    return key


def read_key(directory: Path) -> NodeKey | None:
    """The key in a data directory; None if there is none yet. Changes nothing, also not who may read the file.

    Raises:
        StorageError: the file is damaged, or cannot be read.
    """
    path = directory / KEY_FILE_NAME
    try:
        content = read_regular(path, _MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    try:
        seed, public, end = content.decode("ascii").split("\n")
        if _OTHER_KIND.match(seed) and not seed.startswith(_SEED_PREFIX):
            raise StorageError(
                f"{path} holds another kind of key, which a newer qcore wrote: start the node with that qcore"
            )
        if end or not seed.startswith(_SEED_PREFIX):
            raise ValueError("no seed")
        key = NodeKey(from_base64url(seed.removeprefix(_SEED_PREFIX)))
        if key.public != public:
            raise ValueError("another public key")
    except ValueError:
        raise StorageError(
            f"{path} is damaged. It proves to the other members who this node is. Bring it back from a copy; or remove "
            "the node from the cluster, give it an empty data directory, and add it again"
        ) from None
    return key


def _keep_private(path: Path) -> None:
    """Take away the rights of others to the file.

    Raises:
        StorageError: it is a symbolic link, or its rights cannot be changed.
    """
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            raise StorageError(
                f"{path} is a symbolic link: the key of a node must be a file in its data directory"
            )
        if found.st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise StorageError(
            f"{path} can be read by others, and that cannot be changed ({error.strerror}): chmod 600 it"
        ) from error
