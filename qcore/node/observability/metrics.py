"""`NodeMetrics`, the counters of one node.

They are plain attributes, because they are on the hot path: a counter of `prometheus_client` costs about eight times as
much. `qcore.node.status.metrics_page` reads them when `/metrics` is read.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prometheus_client.core import Metric

from qcore.compiled_build import register_copies
from qcore.node.observability.backup_figures import BackupFigures

#: Kinds of clients' requests, and their outcomes.
KINDS: Final = ("write", "read")
OUTCOMES: Final = ("ok", "refused", "unknown")
#: Why logins failed: a wrong password, no token of this cluster, a token that has ended, a header that cannot be read,
#: or too many attempts.
LOGIN_FAILURES: Final = ("password", "token", "ended_token", "header", "throttled")

#: Upper bounds of buckets, in seconds.
LATENCY_BUCKETS: Final[tuple[float, ...]] = (
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    5.0,
)
#: Upper bounds in seconds, close together around the heartbeat interval and the stalls allowed below it.
STALL_BUCKETS: Final[tuple[float, ...]] = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 5.0,
)  # fmt: skip
#: Upper bounds in items.
BATCH_BUCKETS: Final[tuple[float, ...]] = (
    1.0,
    2.0,
    4.0,
    8.0,
    16.0,
    32.0,
    64.0,
    128.0,
    256.0,
    1024.0,
)


class Histogram:
    """Counts of observations by upper bound, their sum, and the largest.

    Args:
        bounds: upper bounds, ascending; observations above the last count as `+Inf` only.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.largest = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
        if value > self.largest:
            self.largest = value


@dataclass
class NodeMetrics:
    """What a node counts since it started.

    Attributes:
        requests: outcomes by (kind, outcome), see `KINDS` and `OUTCOMES`.
        request_seconds: time from a request's arrival to its response, by kind.
        step_events: the number of events in each step of the replica.
        commit_seconds: time from the submission of writes until they are durable.
        role_changes: changes of role, term or known leader.
        entries_applied: entries applied to the state machine.
        peer_messages_sent, peer_messages_received, peer_messages_dropped: messages to and from peers. A message is
            dropped if there is no usable connection, or a queue is full.
        messages_rejected: messages of peers that the core dropped, because no correct peer sends them.
        rejected_peers: peers whose `Hello` was rejected.
        failed_logins: logins of clients that failed, by reason, see `LOGIN_FAILURES`.
        stall_seconds: how late a timer of the event loop was, every 25 ms; see `qcore.node.runtime.loop_lag`.
        stall_own_seconds: the same, less the time in which the node waited for a processor.
        gc_pause_seconds: computing time of each run of Python's cyclic garbage collector.
        leader_gap_seconds: time between two messages of the leader, on a follower.
        snapshots_stored: snapshots stored on disk, both taken and installed.
        snapshot_stored_at: when the last one was stored, seconds since the Unix epoch; 0 before that.
        backups: scheduled backups.
        watches: the watches of this node's clients now.
        notifications_sent: changes sent to watches.
        watches_cut_off: watches that this node ended because the client was too slow.
        watches_compacted: watches and registrations that needed changes which the node no longer had.
        lines_dropped: by the purpose of the lines (`log`, `audit`, `trace`, `recording`): a function that returns how
            many were dropped because the reader was too slow.
        of_process: returns what the system knows of the process and of its disk.
    """

    requests: dict[tuple[str, str], int] = field(
        # All outcomes exist from the start, because a rate needs the 0 before the first request.
        default_factory=lambda: dict.fromkeys(itertools.product(KINDS, OUTCOMES), 0)
    )
    request_seconds: dict[str, Histogram] = field(
        default_factory=lambda: {kind: Histogram(LATENCY_BUCKETS) for kind in KINDS}
    )
    step_events: Histogram = field(default_factory=lambda: Histogram(BATCH_BUCKETS))
    commit_seconds: Histogram = field(default_factory=lambda: Histogram(LATENCY_BUCKETS))
    role_changes: int = 0
    entries_applied: int = 0
    peer_messages_sent: int = 0
    peer_messages_received: int = 0
    peer_messages_dropped: int = 0
    messages_rejected: int = 0
    rejected_peers: int = 0
    failed_logins: dict[tuple[str], int] = field(
        default_factory=lambda: {(reason,): 0 for reason in LOGIN_FAILURES}
    )
    stall_seconds: Histogram = field(default_factory=lambda: Histogram(STALL_BUCKETS))
    stall_own_seconds: Histogram = field(default_factory=lambda: Histogram(STALL_BUCKETS))
    gc_pause_seconds: Histogram = field(default_factory=lambda: Histogram(STALL_BUCKETS))
    leader_gap_seconds: Histogram = field(default_factory=lambda: Histogram(STALL_BUCKETS))
    snapshots_stored: int = 0
    snapshot_stored_at: float = 0.0
    backups: BackupFigures = field(default_factory=BackupFigures)
    watches: int = 0
    notifications_sent: int = 0
    watches_cut_off: int = 0
    watches_compacted: int = 0
    lines_dropped: dict[str, Callable[[], int]] = field(default_factory=dict)
    of_process: Callable[[], Iterable[Metric]] = tuple

    def count_request(self, kind: str, outcome: str, seconds: float) -> None:
        """Count a request that ended."""
        key = (kind, outcome)
        self.requests[key] += 1
        self.request_seconds[kind].observe(seconds)


register_copies(globals())
