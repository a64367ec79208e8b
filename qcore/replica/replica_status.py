"""The status of a replica, for its driver and for operators."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.core.status import CoreStatus
from qcore.core.version import ClusterVersion


@dataclass(slots=True, frozen=True)
class ReplicaStatus:
    """An immutable view of a replica.

    Attributes:
        core: the core's status.
        pending_writes: writes in the log that have no outcome yet.
        pending_reads: reads that have no outcome yet.
        forwarded: requests that wait for the leader's response.
        version: the active version of the cluster.
    """

    core: CoreStatus
    pending_writes: int
    pending_reads: int
    forwarded: int
    version: ClusterVersion
