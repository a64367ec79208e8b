"""A node whose start fails while its disk thread works: `python -m tests.process.programs.held_disk_node DIRECTORY`.

Prints whether the storage was closed during that work.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import NoReturn

from qcore.errors import ConfigError
from qcore.node.config import NodeConfig
from qcore.node.main import run_node
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from qcore.transport.address import Address

begun, closed = threading.Event(), threading.Event()


class SlowStorage(SqliteStorage):
    """A storage whose background work takes long, and ends early only if the storage is closed meanwhile."""

    def remove_stale_parts(self) -> bool:
        begun.set()
        if closed.wait(0.3):
            sys.stdout.write("closed under the disk thread\n")
            return False
        return super().remove_stale_parts()

    def close(self) -> None:
        sys.stdout.write("close\n")
        closed.set()
        super().close()


def fail(_address: str) -> NoReturn:
    """The callback of a program that fails as soon as the node listens."""
    assert begun.wait(20)
    raise ConfigError("the start failed")


def main() -> None:
    config = NodeConfig.of(1, Path(sys.argv[1]), ws_addr=Address("127.0.0.1", 0))
    try:
        run_node(config, on_listening=fail, open_storage=SlowStorage.open)
    except ConfigError as error:
        sys.stdout.write(f"{error}\n")


if __name__ == "__main__":
    main()
