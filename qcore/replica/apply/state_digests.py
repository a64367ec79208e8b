"""Digests of the state and of the log at fixed indexes: they make members comparable under load.

Members that keep applying entries are never observed at the same index. So each member keeps digests at the newest
multiples of `DIGEST_INTERVAL`. Two members have an index in common unless one is far behind the other. A digest of the
current state (`now`) is added when the members are about to be compared, because an idle log has no later multiple.
The digests depend only on what was applied, not on the size of the steps. They are in memory only: a restart or an
installed snapshot discards them.

The hash of the log chains the entries of one interval, each after the one before, and begins again with the next
interval. So a node that begins in the middle, after a snapshot, has it from the next multiple on. A chain from the
first entry would have to be part of every snapshot. It would find little more: what older entries did is in the state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from qcore.core.entry import Entry
from qcore.core.version import ClusterVersion
from qcore.machines.interface import StateMachine
from qcore.replica.access.access_table import AccessTable
from qcore.replica.apply.log_hash import LogHash
from qcore.replica.machine_results import digest_of
from qcore.replica.messages import StateDigest

#: Entries between two digests. The changes of this many entries bound the work for one.
DIGEST_INTERVAL: Final = 1024
#: How many are kept. They span as many entries as a member may lag behind before the lag itself is a fault.
DIGESTS_KEPT: Final = 16
#: How many digests of current states are kept besides.
CURRENT_KEPT: Final = 4


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
        hash_log: whether members compare the digests, so that the hash of the log is needed.
    """

    def __init__(self, machine: StateMachine, access: AccessTable, hash_log: bool) -> None:
        self._machine = machine
        self._access = access
        self._kept: dict[int, StateDigest] = {}
        self._current: dict[int, StateDigest] = {}
        #: The hash of the entries since the last multiple; None while some of them are not known.
        self._log = LogHash() if hash_log else None
        self._hash_log = hash_log

    @property
    def kept(self) -> Mapping[int, str]:
        """Digests of the state by index, oldest first, at the multiples of `DIGEST_INTERVAL`."""
        return {index: digest.state for index, digest in self._kept.items()}

    def all(self) -> dict[int, StateDigest]:
        """Every known digest by index."""
        return {**self._kept, **self._current}

    def applied(self, entry: Entry, version: ClusterVersion) -> None:
        """The entry was applied, and this version of the cluster is active now.

        Raises:
            StateMachineFailed: the machine returned no digest.
        """
        index = entry.index
        if self._log is not None:
            self._log.add(entry)
        if index % DIGEST_INTERVAL:
            return
        self._kept[index] = self._digest(index, version)
        if len(self._kept) > DIGESTS_KEPT:
            del self._kept[next(iter(self._kept))]
        if self._hash_log:
            self._log = LogHash()

    def now(self, index: int, version: ClusterVersion) -> None:
        """Add a digest of the current state, that of `index`.

        Raises:
            StateMachineFailed: the machine returned no digest.
        """
        if index in self._kept or index in self._current or index == 0:
            return
        self._current[index] = self._digest(index, version)
        if len(self._current) > CURRENT_KEPT:
            del self._current[next(iter(self._current))]

    def _digest(self, index: int, version: ClusterVersion) -> StateDigest:
        log = self._log.digest() if self._log is not None else ""
        state = replicated_digest(self._machine, self._access)
        return StateDigest(index, version.rules, version.machine_version, state, log)

    def on_replaced(self) -> None:
        """Another state replaces this one: the digests do not describe it, and the log before it is unknown."""
        self._kept.clear()
        self._current.clear()
        self._log = None
