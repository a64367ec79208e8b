"""The digests of the state at indexes that all replicas agree on, so that members can be compared under load.

Members that apply entries are never seen at one index. So each keeps the digest of its state at the newest multiples
of `DIGEST_INTERVAL`: two members that are not further apart than all of these have one in common. The record follows
from what was applied, whatever the size of the steps. It is kept in memory, and begins again with the process
and with a snapshot that replaces the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qcore.machines.interface import StateMachine
from qcore.replica.apply.machine_results import digest_of

#: Entries between two digests that are kept. The work of one is bounded by what so many entries change.
DIGEST_INTERVAL: Final = 1024
#: How many are kept: as many entries as a member may be behind before that is a fault by itself.
DIGESTS_KEPT: Final = 16


class StateDigests:
    """The newest digests by index.

    Args:
        machine: digested.
    """

    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine
        self._kept: dict[int, str] = {}

    @property
    def kept(self) -> Mapping[int, str]:
        """Digests by index, the oldest first."""
        return self._kept

    def applied(self, index: int) -> None:
        """The state is now that of `index`.

        Raises:
            StateMachineFailed: the machine gave no digest.
        """
        if index % DIGEST_INTERVAL:
            return
        self._kept[index] = digest_of(self._machine)
        if len(self._kept) > DIGESTS_KEPT:
            del self._kept[next(iter(self._kept))]

    def on_replaced(self) -> None:
        """Another state takes the place of this one: what was kept tells nothing about it."""
        self._kept.clear()
