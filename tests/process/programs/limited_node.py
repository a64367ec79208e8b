"""A program that runs in place of `qcore`: a node whose address space is limited.

The variable `QCORE_TEST_ADDRESS_SPACE_MIB` limits the node's growth beyond an interpreter that has loaded all of qcore.
So the node has the same room for its work, whatever the libraries and the allocator of the platform reserve.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

from qcore.cli.main import main

VARIABLE = "QCORE_TEST_ADDRESS_SPACE_MIB"
_MIB = 1024 * 1024


def address_space_bytes() -> int:
    """The size of the address space that this process has mapped."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def limit_address_space(mib: int) -> None:
    """Allow this process to map `mib` MiB more. An allocation beyond the limit fails."""
    limit = address_space_bytes() + mib * _MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    limit_address_space(int(os.environ[VARIABLE]))
    main()
