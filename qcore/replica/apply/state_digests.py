"""Digests of the state at fixed indexes: they make members comparable under load.

Members that keep applying entries are never observed at the same index. So each member keeps the digests of its state
at the newest multiples of `DIGEST_INTERVAL`. Two members have an index in common unless one is far behind the other.
The digests depend only on what was applied, not on the size of the steps. They are in memory only: a restart or an
installed snapshot discards them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from qcore.machines.interface import StateMachine
from qcore.replica.access.access_table import AccessTable
from qcore.replica.machine_results import digest_of

#: Entries between two digests. The changes of this many entries bound the work for one.
DIGEST_INTERVAL: Final = 1024
#: How many are kept. They span as many entries as a member may lag behind before the lag itself is a fault.
DIGESTS_KEPT: Final = 16


def replicated_digest(machine: StateMachine, access: AccessTable) -> str:
    """The digest of what the log has made: of the machine, and of users and roles once there are any.

    Raises:
        StateMachineFailed: the machine returned no digest.
    """
    digest = digest_of(machine)
    if not access.digest:
        return digest
    return hashlib.sha256(f"{digest} {access.digest}".encode()).hexdigest()


class StateDigests:
    """The newest digests by index.

    Args:
        machine: the state machine whose state is digested.
        access: the users and roles, which are part of the digest once there are any.
    """

    def __init__(self, machine: StateMachine, access: AccessTable) -> None:
        self._machine = machine
        self._access = access
        self._kept: dict[int, str] = {}

    @property
    def kept(self) -> Mapping[int, str]:
        """Digests by index, oldest first."""
        return self._kept

    def applied(self, index: int) -> None:
        """The state is that of `index` now.

        Raises:
            StateMachineFailed: the machine returned no digest.
        """
        if index % DIGEST_INTERVAL:
            return
        self._kept[index] = replicated_digest(self._machine, self._access)
        if len(self._kept) > DIGESTS_KEPT:
            del self._kept[next(iter(self._kept))]

    def on_replaced(self) -> None:
        """Another state replaces this one: the digests do not describe it."""
        self._kept.clear()
