"""A lock around a file on shared storage, and a store that rejects the late write of a former holder.

    qcore node start --id 1 --ws-addr 127.0.0.1:8080 --data-dir data/shared --machine kv &
    qcore cluster init --endpoints 127.0.0.1:8080
    python examples/coordination/shared_file.py ada shared.txt --ttl 3 --write-delay 3
    # in another terminal, when ada is about to write: stop it, let bob write, and continue it
    pkill -STOP -f "shared_file.py ada"
    python examples/coordination/shared_file.py bob shared.txt --ttl 3 --rounds 1
    pkill -CONT -f "shared_file.py ada"

A lock cannot stop a process that has checked it and writes a moment later: in between, the process may be stopped, its
lease may end, and another process may get the lock. So the store compares fencing tokens. It knows the largest token
that has read or written, and rejects smaller ones. Here the write of ada is rejected, and what bob has written remains.
"""

# ruff: noqa: T201 - an example prints for the person who runs it

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qcore import QcoreError, SyncClient
from qcore.kv import SyncKeyValue
from qcore.recipes import LeaseLost, SyncLock


class StaleToken(Exception):
    """A later holder of the lock has used the file."""


class FencedFile:
    """A file for the holders of a lock, each with its fencing token.

    The lock of the cluster lasts for as long as the work on the file takes, and may be lost meanwhile. The lock of the
    operating system lasts only while the token is compared and the file written, so that nothing comes in between. It
    works among the clients of an NFS server, too. A process that is stopped just then delays the others.

    Args:
        path: the file. Its last token is in `PATH.token`, and `PATH.lock` is for the operating system's lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token_path = path.with_name(f"{path.name}.token")
        self._lock_path = path.with_name(f"{path.name}.lock")

    def read(self, token: int) -> str:
        """The text. From now on, no earlier holder can write, so what is read here stays true for this holder.

        Raises:
            StaleToken: a later holder has used the file.
        """
        with self._fenced(token):
            return self._path.read_text() if self._path.exists() else ""

    def write(self, text: str, token: int) -> None:
        """Replace the text.

        Raises:
            StaleToken: a later holder has used the file.
        """
        with self._fenced(token):
            replace(self._path, text)

    @contextmanager
    def _fenced(self, token: int) -> Iterator[None]:
        with self._lock_path.open("a") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)  # until the file is closed
            last = int(self._token_path.read_text()) if self._token_path.exists() else 0
            if token < last:
                raise StaleToken(f"token {token} is older than {last}")
            if token > last:
                replace(self._token_path, str(token))
            yield


def replace(path: Path, text: str) -> None:
    """Replace the content of a file: after a crash it has the old one or the new one."""
    new = path.with_name(f"{path.name}.new")
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def add_line(lock: SyncLock, file: FencedFile, name: str, write_delay_s: float) -> None:
    """Read the file, and write it with one more line."""
    print(f"{name} waits for the lock")
    with lock as held:
        text = file.read(held.token)
        line = f"line {len(text.splitlines()) + 1} by {name}, token {held.token}\n"
        held.check()  # stops most late writes early, and costs no request
        print(f"{name} is about to write with token {held.token}")
        time.sleep(write_delay_s)  # whatever may stop a process for some time
        file.write(text + line, held.token)
        print(f"{name} has written with token {held.token}")


def main(options: argparse.Namespace) -> None:
    """Add some lines."""
    file = FencedFile(options.file)
    with SyncClient(options.endpoints.split(","), timeout_s=5) as client:
        SyncKeyValue(client).status()  # without a cluster, this fails, while a lock waits for one
        lock = SyncLock(client, f"files/{options.file.name}", ttl_s=options.ttl)
        for _ in range(options.rounds):
            try:
                add_line(lock, file, options.name, options.write_delay)
            except StaleToken as error:
                print(f"{options.name}: the store has rejected the write: {error}")
            except LeaseLost as error:
                print(f"{options.name} has lost the lock: {error}")


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Adds lines to a file that many processes share.")
    parser.add_argument("name", help="of this process")
    parser.add_argument("file", type=Path, help="a file on storage that all processes have")
    parser.add_argument("--endpoints", default="127.0.0.1:8080", help="host:port of some nodes")
    parser.add_argument("--rounds", type=int, default=5, help="how many lines to add")
    parser.add_argument("--ttl", type=float, default=10, help="of the lock's lease, seconds")
    parser.add_argument("--write-delay", type=float, default=0.5, help="before each write, seconds")
    return parser.parse_args()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell lets its background jobs ignore SIGINT
        signal.signal(number, signal.default_int_handler)
    try:
        main(read_options())
    except KeyboardInterrupt:
        pass  # Ctrl-C or SIGTERM: the lock is released
    except (QcoreError, OSError) as error:
        sys.exit(f"error: {error}")
