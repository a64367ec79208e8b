"""`NodeWatches`: starts and stops the watches of a node, except the comparison of states."""

from __future__ import annotations

from typing import Final, Protocol

from qcore.node.backups.backup_task import BackupTask
from qcore.node.config import NodeConfig
from qcore.node.observability.logs import NodeLog
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.peers.member_moves import MemberMoves
from qcore.node.peers.peer_router import PeerRouter
from qcore.node.runtime.loop_lag import LoopLag
from qcore.node.runtime.periodic import PeriodicTask
from qcore.node.runtime.submit_event import SubmitEvent
from qcore.node.watches.address_watch import AddressWatch
from qcore.node.watches.priority_watch import PriorityWatch
from qcore.node.watches.removal_watch import RemovalWatch
from qcore.node.watches.wall_clock_watch import WallClockWatch
from qcore.replica.peers.identity import ClusterIdentity
from qcore.replica.replica import Replica
from qcore.runtime.interface import Runtime

#: How often priorities and removal are checked.
_CHECK_INTERVAL_S: Final = 1.0
#: How often the log reports how many repeated lines it left out.
_REPORT_SUPPRESSED_S: Final = 10.0


class _Watch(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...


class NodeWatches:
    """The watches of one node: event loop, wall clock, priorities, removal, addresses; and its scheduled backups.

    It also reports suppressed log lines.

    Args:
        config: settings.
        replica, identity, peers: what the watches check.
        metrics: stalls of the event loop are counted there.
        log: gets the lines.
        own_process: whether the process runs only this node, so that signals may be handled.
        measures_stalls: whether to measure how late the event loop is.
        submit_event: gives the replica an event.
        runtime: the world that the node runs in.

    Attributes:
        removal: knows whether the node was removed.
    """

    def __init__(
        self,
        config: NodeConfig,
        replica: Replica,
        identity: ClusterIdentity,
        peers: PeerRouter,
        metrics: NodeMetrics,
        log: NodeLog,
        *,
        own_process: bool,
        measures_stalls: bool,
        submit_event: SubmitEvent,
        runtime: Runtime,
    ) -> None:
        core = replica.core
        silence_us = 2000 * config.raft.election_timeout_max_ms
        self.removal = RemovalWatch(
            core, identity, peers.rejection, silence_us, log, runtime.monotonic_us
        )
        self._watches: list[_Watch] = [
            PeriodicTask(_REPORT_SUPPRESSED_S, log.report_suppressed),
            PeriodicTask(_CHECK_INTERVAL_S, PriorityWatch(core.status, log).check),
            PeriodicTask(_CHECK_INTERVAL_S, self.removal.check),
            WallClockWatch(core.status, log, config.raft.max_wall_skew_ms * 1000),
            AddressWatch(
                core,
                peers.addresses.own,
                peers.announced_by,
                MemberMoves(core, peers),
                submit_event,
                log,
                runtime,
            ),
        ]
        if config.backups.backup_dir is not None:
            metrics.backups.interval_s = config.backups.backup_interval_s
            backups = BackupTask(
                config.backups,
                replica,
                submit_event,
                peers.connected,
                metrics.backups,
                log,
                runtime,
            )
            self._watches.append(backups)
        if measures_stalls:
            warn_after_s = config.raft.heartbeat_ms / 2000
            lag = LoopLag(metrics, log, warn_after_s, notice_stops=own_process)
            self._watches.insert(3, lag)

    def start(self) -> None:
        """Start the watches, on the running event loop."""
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        """Stop the watches."""
        for watch in self._watches:
            watch.stop()
