"""`LeaseTable`: leases, which delete their keys when they end.

A lease ends by the cluster clock (`qcore.core.clocks.cluster_clock`), which stands still while there is no leader. Both
a grant and each keep-alive are log entries, and so is what ends a lease. So all replicas agree when a lease ends, a new
leader knows every extension, and a restart changes no remaining time. (etcd keeps the remaining time at its leader. So
its new leaders extend all leases, and it had to learn to write checkpoints.)
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

from qcore.errors import LeaseNotFound
from qcore.machines.state_digest import StateDigest

#: The longest and the shortest time to live.
MIN_TTL_MS: Final = 100
MAX_TTL_MS: Final = 9_000_000_000_000
#: The most leases, and the most keys of one: they are deleted in one step of the replica.
MAX_LEASES: Final = 100_000
MAX_LEASE_KEYS: Final = 10_000
#: About the bytes of a lease in a snapshot.
LEASE_BYTES: Final = 40


class Lease:
    """One lease.

    Attributes:
        lease_id: its number, which is at least 1.
        ttl_ms: its time to live.
        expires_us: it ends when the cluster clock shows this.
        keys: the keys that it deletes when it ends.
    """

    __slots__ = ("expires_us", "keys", "lease_id", "ttl_ms")

    def __init__(self, lease_id: int, ttl_ms: int, expires_us: int) -> None:
        self.lease_id = lease_id
        self.ttl_ms = ttl_ms
        self.expires_us = expires_us
        self.keys: dict[bytes, None] = {}

    def text(self) -> str:
        """The lease as JSON, without its keys: each key names its lease."""
        return f"[{self.lease_id},{self.ttl_ms},{self.expires_us}]"


class LeaseTable:
    """All leases."""

    def __init__(self) -> None:
        self._leases: dict[int, Lease] = {}
        #: A heap of (when it ends at the earliest, lease): one item for each lease, or more.
        self._ends: list[tuple[int, int]] = []
        self._digest: StateDigest[int] = StateDigest()

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[Lease]:
        """All leases, the smallest number first."""
        return iter([self._leases[lease_id] for lease_id in sorted(self._leases)])

    @property
    def state_bytes(self) -> int:
        """About the bytes of all leases in a snapshot."""
        return LEASE_BYTES * len(self._leases)

    def get(self, lease_id: int) -> Lease | None:
        """The lease with this number; None if there is none."""
        return self._leases.get(lease_id)

    def living(self, lease_id: int, clock_us: int) -> Lease:
        """The lease with this number, which has not ended at this cluster clock.

        Raises:
            LeaseNotFound: there is none, or it has ended, and only the command that deletes its keys is missing.
        """
        lease = self._leases.get(lease_id)
        if lease is None or lease.expires_us <= clock_us:
            raise no_lease(lease_id)
        return lease

    def add(self, lease: Lease) -> None:
        """Add a lease with a number that is not used."""
        self._leases[lease.lease_id] = lease
        self._touched(lease)

    def extend(self, lease: Lease, clock_us: int) -> None:
        """Begin the lease's time to live again, at this cluster clock."""
        lease.expires_us = clock_us + 1000 * lease.ttl_ms
        self._touched(lease)

    def remove(self, lease: Lease) -> None:
        """Forget a lease. Its keys are the caller's business."""
        del self._leases[lease.lease_id]
        self._digest.drop(lease.lease_id)

    def next_end_us(self) -> int | None:
        """The cluster clock at which the next lease ends; None if there is no lease."""
        ends = self._ends
        while ends:
            due, lease_id = ends[0]
            lease = self._leases.get(lease_id)
            if lease is None:
                heapq.heappop(ends)
            elif lease.expires_us > due:
                heapq.heapreplace(ends, (lease.expires_us, lease_id))
            else:
                return due
        return None

    def ended(self, clock_us: int) -> Lease | None:
        """The lease that ends first, if it has ended at this cluster clock."""
        due = self.next_end_us()
        if due is None or due > clock_us:
            return None
        return self._leases[self._ends[0][1]]

    def digest(self) -> str:
        """A digest of all leases. It costs time only for those that changed since the last call."""
        return self._digest.hexdigest(lambda lease_id: self._leases[lease_id].text())

    def _touched(self, lease: Lease) -> None:
        self._digest.touch(lease.lease_id)
        heapq.heappush(self._ends, (lease.expires_us, lease.lease_id))
        if len(self._ends) > 2 * len(self._leases) + 64:
            self._ends = [(held.expires_us, key) for key, held in self._leases.items()]
            heapq.heapify(self._ends)


def no_lease(lease_id: int) -> LeaseNotFound:
    """The error for a lease that does not exist, or has ended."""
    return LeaseNotFound(f"lease {lease_id} does not exist, or has ended")
