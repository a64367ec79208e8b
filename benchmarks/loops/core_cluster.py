"""`CoreCluster`: the servers of a cluster in one process, without disk, network or JSON.

This is the loop of `benchmarks.bench_core`. `make compile` compiles it, because the peer that it is compared with is
compiled, too.
"""

from __future__ import annotations

import random
from typing import Final

from qcore.core.config import RaftConfig
from qcore.core.effects import AppendLog, Effect, SaveHardState, Send, StoreSnapshot, TruncateLog
from qcore.core.entry import DurableState, Entry, HardState, Membership
from qcore.core.events import Campaign, Event, MessageReceived, Propose, ReadRequested, WriteDurable
from qcore.core.raft import RaftCore

GROUP: Final = 64
COMMAND: Final = "x" * 100
MEMBERSHIP: Final = Membership(voters=(1, 2, 3))


class CoreCluster:
    """Cores that share one queue of events. Server 1 leads.

    Args:
        membership: the configuration; by default three voters.
        pre_vote, check_quorum, lease_reads: as in `RaftConfig`.

    Attributes:
        now: the clock of all servers, µs. It stands still.
        steps: how many steps they have made.
    """

    def __init__(
        self,
        membership: Membership = MEMBERSHIP,
        *,
        pre_vote: bool = True,
        check_quorum: bool = True,
        lease_reads: bool = False,
    ) -> None:
        entry = Entry(1, 1, "membership", membership.to_json(), 0)
        self.now = 0
        self.steps = 0
        self._to: list[int] = []
        self._queue: list[Event] = []
        self.cores: dict[int, RaftCore] = {}
        for node_id in membership.members():
            config = RaftConfig(
                node_id=node_id,
                pre_vote=pre_vote,
                check_quorum=check_quorum,
                lease_reads=lease_reads,
            )
            durable = DurableState(HardState(1, None, 0), None, [entry])
            core = RaftCore(config, durable, rng=random.Random(node_id), now=0)
            core.initial_effects()
            self.cores[node_id] = core
        self.now = max([core.next_deadline() for core in self.cores.values()])
        self.step(1, Campaign())
        self.settle()
        assert self.cores[1].role == "leader"

    def step(self, node_id: int, event: Event) -> None:
        """Make one step and queue its effects: the completion of the write first, then the messages."""
        self.steps += 1
        effects = self.cores[node_id].step(event, self.now)
        write_id = last_write(effects)
        if write_id:
            self._push(node_id, WriteDurable(write_id))
        for effect in effects:
            if isinstance(effect, Send):
                self._push(effect.to, MessageReceived(node_id, effect.message))

    def _push(self, node_id: int, event: Event) -> None:
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

    @property
    def committed(self) -> int:
        """The commit index of the leader."""
        return self.cores[1].commit_index


def last_write(effects: list[Effect]) -> int:
    """The newest write among the effects of a step; 0 if there is none."""
    newest = 0
    for effect in effects:
        if isinstance(effect, (AppendLog, SaveHardState, TruncateLog, StoreSnapshot)):
            newest = effect.write_id
    return newest


def one_at_a_time(cluster: CoreCluster) -> int:
    """One command."""
    cluster.step(1, Propose([COMMAND], cluster.now))
    cluster.settle()
    return 1


def pipelined(cluster: CoreCluster) -> int:
    """64 proposals of one command each before anything is delivered."""
    for _ in range(GROUP):
        cluster.step(1, Propose([COMMAND], cluster.now))
    cluster.settle()
    return GROUP


def batched(cluster: CoreCluster) -> int:
    """One proposal of 64 commands."""
    cluster.step(1, Propose([COMMAND] * GROUP, cluster.now))
    cluster.settle()
    return GROUP


def reads(cluster: CoreCluster) -> int:
    """64 linearizable reads."""
    for number in range(GROUP):
        cluster.step(1, ReadRequested(number))
    cluster.settle()
    return GROUP


def lease_reads(cluster: CoreCluster) -> int:
    """64 reads under the leader's lease."""
    for number in range(GROUP):
        cluster.step(1, ReadRequested(number, lease=True))
    cluster.settle()
    return GROUP
