"""A program that saves a snapshot of a node which sends the first half and then falls silent.

With `--named` the file system does not support unnamed files.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import typer

from qcore.cli.runner import run
from qcore.client.endpoints import Endpoints
from qcore.client.snapshot_download import save_snapshot
from qcore.core.entry import Membership
from qcore.runtime.real import REAL
from qcore.storage.files import atomic_file
from qcore.transport.address import Address

TEXT = "half of the state; " * 2


async def answer(
    endpoint: Address, name: str, fields: Mapping[str, Any], wait_s: float
) -> dict[str, Any]:
    """The responses of the node."""
    del endpoint, wait_s
    if name == "SaveSnapshot":
        info = {
            "last_included_index": 7,
            "last_included_term": 2,
            "last_included_time_us": 0,
            "membership": Membership(voters=(1,), cluster_id="north"),
            "characters": len(TEXT),
            "size": len(TEXT),
            "sha256": hashlib.sha256(TEXT.encode()).hexdigest(),
        }
        return {"response": {"Ok": info}}
    if fields["offset"] == 0:
        return {"response": {"Ok": {"data": TEXT[: len(TEXT) // 2]}}}
    sys.stdout.write("half of it is written\n")
    sys.stdout.flush()
    await asyncio.Event().wait()
    raise AssertionError


def no_unnamed_files(directory: Path) -> None:
    """A replacement for `new_file._unnamed`."""
    del directory


def main() -> None:
    """Save the snapshot."""
    if "--named" in sys.argv:
        atomic_file._unnamed = no_unnamed_files
    path = Path(sys.argv[1])
    try:
        run(
            save_snapshot(
                answer,
                Endpoints(["a:1"], Random(), runtime=REAL),
                path,
                stale=False,
                force=False,
                timeout_s=60,
                runtime=REAL,
            )
        )
    except typer.Exit as ended:  # as the command does
        sys.exit(ended.exit_code)


if __name__ == "__main__":
    main()
