"""Run as a process in place of `qcore`: a node whose address space is limited.

The variable `QCORE_TEST_ADDRESS_SPACE_MIB` says by how much the node may grow beyond an interpreter that has loaded
all of qcore: whatever the platform's libraries and allocator reserve, the room for the node's own work is the same.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

from qcore.cli.main import main

VARIABLE = "QCORE_TEST_ADDRESS_SPACE_MIB"
_MIB = 1024 * 1024


def address_space_bytes() -> int:
    """What this process has mapped now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def limit_address_space(mib: int) -> None:
    """Allow this process `mib` MiB beyond what it has mapped; an allocation beyond it fails."""
    limit = address_space_bytes() + mib * _MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    limit_address_space(int(os.environ[VARIABLE]))
    main()
