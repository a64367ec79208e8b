"""`ReplicaCluster`: whole replicas in one process, with all that real and simulated nodes share.

This is the loop of `benchmarks.loops.bench_replica`. `make compile` compiles it.
"""

from __future__ import annotations

import random
from typing import Final

from qcore.core.config import RaftConfig
from qcore.core.effects import AppendLog, SaveHardState, Send
from qcore.core.entry import DurableState, Entry, HardState, Membership
from qcore.core.events import Campaign, MessageReceived, WriteDurable
from qcore.core.version import ClusterVersion
from qcore.machines.interface import StateMachine
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import ClientRequest, ReplicaEvent, Reply
from qcore.replica.messages import RequestKind
from qcore.replica.replica import Replica

GROUP: Final = 64
MEMBERSHIP: Final = Membership(voters=(1, 2, 3))
#: Longer than any request waits here.
_TIMEOUT_MS: Final = 60_000


class ReplicaCluster:
    """Replicas that share one queue of events. Each event is a separate step. Server 1 leads.

    Args:
        machines: one fresh state machine for each of three replicas.
        version: of the cluster.

    Attributes:
        now: the clock of all servers, µs. It stands still.
        steps: how many steps they have made.
        replies: how many requests were successful.
    """

    def __init__(self, machines: list[StateMachine], version: ClusterVersion) -> None:
        first = [
            Entry(1, 1, "membership", MEMBERSHIP.to_json(), 0),
            Entry(2, 1, "version", version.to_json(), 0),
        ]
        self.now = 0
        self.steps = 0
        self.replies = 0
        self._request_id = 0
        self._to: list[int] = []
        self._queue: list[ReplicaEvent] = []
        self._replicas: dict[int, Replica] = {}
        for node_id, machine in zip(MEMBERSHIP.voters, machines, strict=True):
            config = ReplicaConfig(raft=RaftConfig(node_id=node_id))
            durable = DurableState(HardState(1, None, 2), None, [*first])
            replica = Replica(config, machine, durable, rng=random.Random(node_id), now=0)
            replica.step([], 0, 0)
            self._replicas[node_id] = replica
        self.now = max([replica.next_deadline() for replica in self._replicas.values()])
        self.step(1, Campaign())
        self.settle()
        assert self._replicas[1].core.role == "leader"

    def step(self, node_id: int, event: ReplicaEvent) -> None:
        """Make one step and queue its effects: the completion of the write first, then the messages."""
        self.steps += 1
        replica = self._replicas[node_id]
        effects = replica.step([event], self.now, self.now)
        write_id = 0
        for effect in effects:
            if isinstance(effect, (AppendLog, SaveHardState)):
                write_id = effect.write_id
        if write_id:
            self._push(node_id, WriteDurable(write_id))
        for effect in effects:
            if isinstance(effect, Send):
                self._push(effect.to, MessageReceived(node_id, effect.message))
            elif isinstance(effect, Reply):
                assert effect.error is None, "no request fails here"
                self.replies += 1
        replica.next_deadline()  # every driver asks for it

    def _push(self, node_id: int, event: ReplicaEvent) -> None:
        self._to.append(node_id)
        self._queue.append(event)

    def settle(self) -> None:
        """Step until no event is left."""
        done = 0
        while done < len(self._queue):
            self.step(self._to[done], self._queue[done])
            done += 1
        self._to.clear()
        self._queue.clear()

    def request(self, kind: RequestKind, payload: str) -> None:
        """A client of the leader sends a request."""
        self._request_id += 1
        self.step(1, ClientRequest(self._request_id, kind, payload, _TIMEOUT_MS))


def one_at_a_time(cluster: ReplicaCluster, kind: RequestKind, payload: str) -> int:
    """One request."""
    cluster.request(kind, payload)
    cluster.settle()
    return 1


def pipelined(cluster: ReplicaCluster, kind: RequestKind, payload: str) -> int:
    """64 requests, each in a separate step, before anything is delivered."""
    for _ in range(GROUP):
        cluster.request(kind, payload)
    cluster.settle()
    return GROUP
