"""The counters of `GetActivityResponse`: what a page or program needs to draw rates, latencies and lags."""

from __future__ import annotations

from typing import Final

from pydantic import JsonValue

from qcore.core.raft import RaftCore
from qcore.node.observability.metrics import KINDS, OUTCOMES, Histogram, NodeMetrics

#: Samples of `NodeMetrics.of_process`, and their names in the response.
_PROCESS: Final = {
    "process_resident_memory_bytes": "resident_bytes",
    "process_cpu_seconds_total": "cpu_seconds",
    "process_open_fds": "open_fds",
    "process_max_fds": "max_fds",
    "qcore_disk_free_bytes": "disk_free_bytes",
    "qcore_disk_size_bytes": "disk_size_bytes",
    "qcore_data_dir_bytes": "data_dir_bytes",
}


def activity_counters(core: RaftCore, metrics: NodeMetrics, wall_us: int) -> dict[str, JsonValue]:
    """The counters of a node. Counts are since its start; `wall_us` is the time now, µs since the Unix epoch."""
    return {
        "requests": {
            kind: {outcome: metrics.requests[kind, outcome] for outcome in OUTCOMES}
            for kind in KINDS
        },
        "request_seconds": {
            kind: _histogram(histogram) for kind, histogram in metrics.request_seconds.items()
        },
        "commit_seconds": _histogram(metrics.commit_seconds),
        "entries_applied": metrics.entries_applied,
        "role_changes": metrics.role_changes,
        "peer_messages": {
            "sent": metrics.peer_messages_sent,
            "received": metrics.peer_messages_received,
            "dropped": metrics.peer_messages_dropped,
        },
        "failed_logins": sum(metrics.failed_logins.values()),
        "lines_dropped": sum(dropped() for dropped in metrics.lines_dropped.values()),
        "process": _process(metrics),
        "followers": _followers(core, wall_us),
    }


def _histogram(histogram: Histogram) -> JsonValue:
    """`counts[i]` observations were at most `bounds[i]` seconds, and more than the bound before; the last: the rest."""
    return {
        "bounds": list(histogram.bounds),
        "counts": list(histogram.counts),
        "sum": round(histogram.total, 6),
    }


def _process(metrics: NodeMetrics) -> dict[str, JsonValue]:
    """What the system knows of the process and its disk; empty without a measurement."""
    return {
        _PROCESS[sample.name]: sample.value
        for family in metrics.of_process()
        for sample in family.samples
        if sample.name in _PROCESS
    }


def _followers(core: RaftCore, wall_us: int) -> dict[str, JsonValue] | None:
    """How far each follower is behind this leader's log; None on a node that does not lead.

    `match` and the lags are null while a new leader does not know them.
    `silent_ms` is how much older its last response is than the newest response of any follower.
    """
    if core.role != "leader":
        return None
    status = core.status()
    responses = {peer: core.last_response_at(peer) or 0 for peer in status.peers}
    newest = max(responses.values(), default=0)
    found: dict[str, JsonValue] = {}
    for peer, progress in sorted(status.peers.items()):
        is_known = core.has_responded(peer)
        behind = status.last_log_index - progress.match
        found[str(peer)] = {
            "match": progress.match if is_known else None,
            "lag_entries": behind if is_known else None,
            "lag_ms": _lag_ms(core, progress.match, wall_us) if is_known else None,
            "silent_ms": (newest - responses[peer]) // 1000,
        }
    return found


def _lag_ms(core: RaftCore, match: int, wall_us: int) -> int | None:
    """The age of the first entry that a follower is not known to have; None if the log does not show it."""
    if match >= core.last_log_index:
        return 0
    entry = core.entry_at(match + 1)
    if entry is None or not entry.time_us:  # compacted, or written when the cluster began
        return None
    return max(0, wall_us - entry.time_us) // 1000
