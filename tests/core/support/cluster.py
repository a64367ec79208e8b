"""A cluster of pure cores for tests: a network under the test's control, and disks that lose what is not durable.

Nothing happens by itself. Each test, script or random walk decides which message is delivered, dropped or
duplicated, which writes become durable and which node crashes. `Safety` checks each step.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self
from zlib import crc32

from qcore.core import DurableState, Entry, HardState, Membership, RaftConfig, RaftCore
from qcore.core.effects import (
    AppendLog,
    Apply,
    Effect,
    ReadReady,
    RestoreMachine,
    SaveCommit,
    SaveHardState,
    Send,
    StoreSnapshot,
    TruncateLog,
    Write,
)
from qcore.core.events import (
    Campaign,
    Event,
    MessageReceived,
    Propose,
    ReadRequested,
    SnapshotTaken,
    Tick,
    WriteDurable,
)
from qcore.core.log.durable_state import apply_write
from qcore.core.messages import InstallSnapshot, RaftMessage
from qcore.core.version import ClusterVersion
from tests.core.support.brute_force import check_node
from tests.core.support.safety_checks import Safety, chain


def whole_snapshot(
    term: int,
    leader_id: int,
    last_included_index: int,
    last_included_term: int,
    membership: Membership,
    data: str,
    *,
    time_us: int = 0,
) -> InstallSnapshot:
    """A snapshot in one chunk."""
    checksum = crc32(data.encode())
    return InstallSnapshot(
        term,
        leader_id,
        last_included_index,
        last_included_term,
        time_us,
        membership,
        offset=0,
        total=len(data),
        checksum=checksum,
        data=data,
    )


@dataclass(slots=True)
class Envelope:
    """A message in the network."""

    source: int
    to: int
    message: RaftMessage


@dataclass(slots=True)
class Node:
    """One server and the state of its driver. `core` is None while it is down."""

    node_id: int
    config: RaftConfig
    durable: DurableState
    core: RaftCore | None = None
    now: int = 0
    wall_us: int = 0  # its wall clock; 0: it has none
    writes: deque[Write | SaveCommit] = field(default_factory=deque)  # not durable yet
    held: list[Send[RaftMessage]] = field(default_factory=list)  # waiting for their write
    durable_write_id: int = 0
    machine_index: int = 0
    machine_digest: int = 0
    incarnation: int = 0
    next_read_id: int = 0
    reads_ready: list[ReadReady] = field(default_factory=list)

    @property
    def up(self) -> RaftCore:
        assert self.core is not None, f"node {self.node_id} is down"
        return self.core


def membership_entry(membership: Membership, term: int = 1) -> Entry:
    """The first entry of every log."""
    return Entry(1, term, "membership", membership.to_json(), 0)


def started(membership: Membership, terms: Sequence[int] = (1,), term: int = 0) -> DurableState:
    """The durable state of a server whose log has entries of these terms; the first is the membership."""
    entries = [membership_entry(membership, terms[0])]
    entries += [
        Entry(index, entry_term, "command", f"{entry_term}-{index}", 0)
        for index, entry_term in enumerate(terms[1:], start=2)
    ]
    return DurableState(HardState(term or terms[-1], None, 0), None, entries)


def begun(membership: Membership, rules: int) -> DurableState:
    """Like `started`, for a cluster that begins at these apply rules: from 2 on, the second entry raises them."""
    state = started(membership)
    if rules > 1:
        state.entries.append(Entry(2, 1, "version", ClusterVersion(rules).to_json(), 0))
    return state


class Cluster:
    """Cores, their disks and the messages between them.

    Args:
        durable: by node id, what each server's storage holds at the start.
        settings: passed to each `RaftConfig`.
        seed: of the generators that draw the election timeouts.
        check_safety: let `Safety` check every step; False to examine a core without it.
        brute_force: also compute log, configuration and commit index from scratch after every step.
        priorities: by node id, where they differ from the settings'.
    """

    def __init__(
        self,
        durable: dict[int, DurableState],
        settings: RaftConfig | None = None,
        *,
        seed: int = 0,
        check_safety: bool = True,
        brute_force: bool = False,
        priorities: Mapping[int, int] | None = None,
    ) -> None:
        settings = settings or RaftConfig(node_id=1)
        self.seed = seed
        self.network: list[Envelope] = []
        self.cut: set[tuple[int, int]] = set()  # (source, to): lost on arrival
        self.nodes = {
            node_id: Node(
                node_id,
                replace(
                    settings,
                    node_id=node_id,
                    priority=(priorities or {}).get(node_id, settings.priority),
                ),
                state,
            )
            for node_id, state in durable.items()
        }
        self.safety = Safety() if check_safety else None
        self.brute_force = brute_force
        for node_id in self.nodes:
            self.restart(node_id)

    @classmethod
    def of(
        cls,
        size: int,
        settings: RaftConfig | None = None,
        *,
        seed: int = 0,
        check_safety: bool = True,
        rules: int = 1,
    ) -> Self:
        """A cluster of voters 1 to `size` whose logs hold the configuration and, if above 1, the apply rules."""
        membership = Membership(voters=tuple(range(1, size + 1)))
        durable = {node_id: started(membership) for node_id in membership.voters}
        if rules > 1:
            version = Entry(2, 1, "version", ClusterVersion(rules, "m", 1).to_json(), 0)
            for state in durable.values():
                state.entries.append(version)
        return cls(durable, settings, seed=seed, check_safety=check_safety)

    # -- state -----------------------------------------------------------------------------------

    def core(self, node_id: int) -> RaftCore:
        return self.nodes[node_id].up

    def alive(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.core is not None]

    def leaders(self) -> list[int]:
        return [node.node_id for node in self.alive() if node.up.role == "leader"]

    # -- events ----------------------------------------------------------------------------------

    def step(self, node_id: int, event: Event) -> list[Effect]:
        """Step one core and execute the effects. Returns them."""
        node = self.nodes[node_id]
        before = self.safety.before(node.up) if self.safety else None
        effects = node.up.step(event, node.now, node.wall_us)
        self._execute(node, effects)
        if self.safety and before is not None:
            self.safety.after(self.nodes_durable(), node_id, node.up, before, effects)
        if self.brute_force:
            check_node(node_id, node.up, self.nodes_durable(), node.writes)
        return effects

    def nodes_durable(self) -> dict[int, DurableState]:
        return {node_id: node.durable for node_id, node in self.nodes.items()}

    def propose(self, node_id: int, *commands: str) -> list[Effect]:
        return self.step(node_id, Propose(list(commands), self.nodes[node_id].now))

    def read(self, node_id: int, *, lease: bool = False) -> int:
        """Request a linearizable read; returns its id."""
        node = self.nodes[node_id]
        node.next_read_id += 1
        read_id = node.next_read_id
        if self.safety:
            self.safety.read_requested(node_id, node.incarnation, read_id)
        self.step(node_id, ReadRequested(read_id, lease))
        return read_id

    def timeout(self, node_id: int) -> list[Effect]:
        """The node's clock passes its deadline."""
        node = self.nodes[node_id]
        deadline = node.up.next_deadline()
        if deadline < 1 << 61:
            node.now = max(node.now, deadline)
        return self.step(node_id, Tick())

    def tick(self, node_id: int) -> list[Effect]:
        """Tick the node although its clock stays as it is."""
        return self.step(node_id, Tick())

    def campaign(self, node_id: int) -> list[Effect]:
        return self.step(node_id, Campaign())

    def advance(self, milliseconds: int) -> None:
        """Advance every clock, without a tick."""
        for node in self.nodes.values():
            node.now += milliseconds * 1000

    def take_snapshot(self, node_id: int, keep_entries: int = 0) -> list[Effect]:
        """Take a snapshot of the state machine."""
        node = self.nodes[node_id]
        data = f"{node.machine_index}:{node.machine_digest:010}"  # the same length for every state
        return self.step(node_id, SnapshotTaken(node.machine_index, data, keep_entries))

    # -- the network -----------------------------------------------------------------------------

    def deliver(self, position: int = 0) -> list[Effect]:
        """Deliver the message at this position of the network; it is lost if the receiver is down."""
        envelope = self.network.pop(position)
        return self.deliver_envelope(envelope)

    def deliver_envelope(self, envelope: Envelope) -> list[Effect]:
        receiver = self.nodes.get(envelope.to)
        lost = (envelope.source, envelope.to) in self.cut
        if lost or receiver is None or receiver.core is None:
            return []
        return self.step(envelope.to, MessageReceived(envelope.source, envelope.message))

    def isolate(self, node_id: int) -> None:
        """Cut all links of this node, in both directions."""
        for peer in self.nodes:
            if peer != node_id:
                self.cut |= {(peer, node_id), (node_id, peer)}

    # -- the disks -------------------------------------------------------------------------------

    def persist(self, node_id: int, count: int | None = None) -> list[Effect]:
        """Make the oldest `count` pending writes (all by default) durable, and report it to the core."""
        node = self.nodes[node_id]
        write_id = self._sync(node, count)
        if write_id is None or node.core is None:
            return []
        node.durable_write_id = write_id
        ready = [send for send in node.held if send.after <= write_id]
        node.held = [send for send in node.held if send.after > write_id]
        for send in ready:
            self._release(node, send)
        return self.step(node_id, WriteDurable(write_id))

    def _sync(self, node: Node, count: int | None) -> int | None:
        """Move pending writes to the durable image. Returns the id of the last one."""
        last: int | None = None
        commit: int | None = None
        done = 0
        while node.writes and (count is None or done < count):
            write = node.writes.popleft()
            if isinstance(write, SaveCommit):
                commit = write.commit
                continue
            if commit is not None:
                node.durable.hard_state.commit = commit
            apply_write(node.durable, write)
            last = write.write_id
            done += 1
        return last

    def crash(self, node_id: int, survive: int = 0) -> None:
        """Lose memory and all pending writes except the oldest `survive`, which reached the disk in time."""
        node = self.nodes[node_id]
        if survive:
            self._sync(node, survive)
        node.core = None
        node.writes.clear()
        node.held.clear()

    def restart(self, node_id: int) -> list[Effect]:
        """Start a server from what its disk holds."""
        node = self.nodes[node_id]
        assert node.core is None, f"node {node_id} is up"
        node.incarnation += 1
        node.durable_write_id = 0
        state = node.durable
        rng = random.Random(f"{self.seed}/{node_id}/{node.incarnation}")
        node.machine_index, node.machine_digest = 0, 0
        if state.snapshot is not None:
            self._restore(node, state.snapshot.data)
        copy = DurableState(replace(state.hard_state), state.snapshot, list(state.entries))
        node.core = RaftCore(node.config, copy, rng=rng, now=node.now)
        effects = node.core.initial_effects()
        self._execute(node, effects)
        if self.safety:
            self.safety.restarted(node_id, node.core)
        if self.brute_force:
            check_node(node_id, node.core, self.nodes_durable(), node.writes)
        return effects

    # -- effects ---------------------------------------------------------------------------------

    def _execute(self, node: Node, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SaveHardState() | AppendLog() | TruncateLog() | StoreSnapshot() | SaveCommit():
                    node.writes.append(effect)
                case Send():
                    if effect.after > node.durable_write_id:
                        node.held.append(effect)
                    else:
                        self._release(node, effect)
                case Apply(entries=entries):
                    for entry in entries:
                        self._apply(node, entry)
                case RestoreMachine(snapshot=snapshot):
                    self._restore(node, snapshot.data)
                case ReadReady():
                    assert effect.index <= node.machine_index, "served before it was applied"
                    node.reads_ready.append(effect)
                    if self.safety:
                        self.safety.read_ready(node.node_id, node.incarnation, effect)
                case _:
                    pass

    def _release(self, node: Node, send: Send[RaftMessage]) -> None:
        if self.safety:
            self.safety.sent(node.node_id, send)
        self.network.append(Envelope(node.node_id, send.to, send.message))

    def _apply(self, node: Node, entry: Entry) -> None:
        assert entry.index == node.machine_index + 1, "applied out of order"
        node.machine_index = entry.index
        node.machine_digest = chain(node.machine_digest, entry)
        if self.safety:
            self.safety.applied(node.node_id, node.machine_index, node.machine_digest)

    def _restore(self, node: Node, data: str) -> None:
        index, digest = data.split(":")
        node.machine_index, node.machine_digest = int(index), int(digest)
        if self.safety:
            self.safety.applied(node.node_id, node.machine_index, node.machine_digest)

    # -- convenience -----------------------------------------------------------------------------

    def settle(self, limit: int = 20_000) -> None:
        """Persist and deliver everything, in order, until no message and no write is pending."""
        for _ in range(limit):
            busy = False
            for node in self.alive():
                if node.writes and any(not isinstance(w, SaveCommit) for w in node.writes):
                    busy = True
                    self.persist(node.node_id)
            if self.network:
                busy = True
                self.deliver()
            if not busy:
                return
        raise AssertionError(f"the cluster did not settle within {limit} rounds")

    def elect(self, node_id: int) -> None:
        """Make this node the leader, after all leases have expired."""
        self.advance(1000)
        self.campaign(node_id)
        self.settle()
        assert self.core(node_id).role == "leader", self.core(node_id).status()
