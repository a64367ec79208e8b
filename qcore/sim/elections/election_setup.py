"""`ElectionSetup`: which cluster elects a leader, from which start, and on which network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qcore.core.config import RaftConfig
from qcore.core.entry import DurableState, Entry, HardState, Membership, Snapshot, SnapshotMeta
from qcore.errors import ConfigError
from qcore.sim.scenario.distributions import Distribution

#: The most nodes of a cluster.
MAX_NODES: Final = 1001
#: A trial ends without a leader after this many longest election timeouts, if no limit is given.
LIMIT_TIMEOUTS: Final = 100

#: The term in which the servers begin. The first election is for the next one.
FIRST_TERM: Final = 1


@dataclass(frozen=True, slots=True)
class ElectionSetup:
    """What every trial has in common. Durations are in milliseconds.

    Attributes:
        nodes: voters of the cluster.
        failed: how many of them are down during the election. With `crash_leader` the leader is one of them.
        latency: of each message, in one direction.
        timeout_min_ms, timeout_max_ms: the range of the election timeouts.
        crash_leader: the leader crashes at a random moment between two heartbeats. Otherwise all timers start at 0.
        heartbeat_ms: with `crash_leader`, the interval of its heartbeats.
        ineligible: servers among the available ones that cannot win, because their logs lack a committed entry.
        pre_vote, check_quorum: see `RaftConfig`.
        disk: how long a write takes to become durable; None if it takes no time.
        limit_ms: a trial that has no leader by then is censored.

    Raises:
        ConfigError: no leader could be elected, or a value is out of range. The message names the option.
    """

    nodes: int
    failed: int
    latency: Distribution
    timeout_min_ms: int
    timeout_max_ms: int
    crash_leader: bool
    heartbeat_ms: float
    ineligible: int
    pre_vote: bool
    check_quorum: bool
    disk: Distribution | None
    limit_ms: float

    def __post_init__(self) -> None:
        self._check_servers()
        if not 2 <= self.timeout_min_ms <= self.timeout_max_ms <= 10**9:
            raise ConfigError(
                f"--timeout {self.timeout_min_ms}:{self.timeout_max_ms}: give the shortest election timeout, at least "
                "2 ms, and then the longest"
            )
        if self.crash_leader and not 0 < self.heartbeat_ms < self.timeout_min_ms:
            raise ConfigError(
                f"--heartbeat {self.heartbeat_ms:g} must be above 0 and below the shortest election timeout "
                f"({self.timeout_min_ms} ms): followers would campaign against a live leader"
            )
        if not 0 < self.limit_ms <= 1e11:
            raise ConfigError(
                f"--limit-ms {self.limit_ms:g}: give a positive number of milliseconds"
            )

    def _check_servers(self) -> None:
        if not 1 <= self.nodes <= MAX_NODES:
            raise ConfigError(f"--nodes {self.nodes}: give a number from 1 to {MAX_NODES}")
        if self.failed < 0:
            raise ConfigError(f"--failed {self.failed}: give a number of at least 0")
        if self.available < self.majority:
            raise ConfigError(
                f"--failed {self.failed}: the {self.available} other servers of {self.nodes} are no majority, so no "
                f"leader can be elected; at most {self.nodes - self.majority} may fail"
            )
        if self.ineligible < 0:
            raise ConfigError(f"--ineligible {self.ineligible}: give a number of at least 0")
        # The entry that they lack is committed, so a majority holds it.
        most = min(self.nodes - self.majority, self.available - 1)
        if self.ineligible > most:
            raise ConfigError(
                f"--ineligible {self.ineligible}: a committed entry is on a majority of the {self.nodes} servers, and "
                f"one of the {self.available} available servers must be able to win; at most {most} can lack the entry"
            )

    @property
    def majority(self) -> int:
        return self.nodes // 2 + 1

    @property
    def available(self) -> int:
        """How many servers take part in the election."""
        return self.nodes - self.failed

    def server_ids(self) -> range:
        """The ids of the servers that take part. With `crash_leader`, the leader is the last node."""
        return range(1, self.available + 1)

    @property
    def leader_id(self) -> int:
        """With `crash_leader`, the id of the leader."""
        return self.nodes

    def to_json(self) -> dict[str, object]:
        """The plain values, without the distributions."""
        return {
            name: getattr(self, name)
            for name in self.__slots__
            if name not in ("latency", "disk", "limit_ms")
        }

    def config(self, node_id: int) -> RaftConfig:
        """The settings of one server. It never leads for long enough to need its heartbeat interval."""
        return RaftConfig(
            node_id=node_id,
            election_timeout_min_ms=self.timeout_min_ms,
            election_timeout_max_ms=self.timeout_max_ms,
            heartbeat_ms=1,
            pre_vote=self.pre_vote,
            check_quorum=self.check_quorum,
        )

    def last_index(self, node_id: int) -> int:
        """The index of the last entry of one server. The servers with the lowest ids lack the newest entry."""
        return 1 if node_id <= self.ineligible else 2

    def durable_state(self, node_id: int) -> DurableState:
        """What one server has stored at the start: a snapshot with the configuration, and perhaps an entry."""
        # A configuration in an entry would be JSON, which each trial would parse again for each server.
        meta = SnapshotMeta(1, FIRST_TERM, 0, Membership(voters=tuple(range(1, self.nodes + 1))))
        entries = [Entry(2, FIRST_TERM, "noop", "", 0)] if self.last_index(node_id) == 2 else []
        return DurableState(HardState(FIRST_TERM, None, 1), Snapshot(meta, ""), entries)


def default_limit_ms(timeout_max_ms: int) -> int:
    """When a trial is censored if no limit is given, ms."""
    return LIMIT_TIMEOUTS * timeout_max_ms
