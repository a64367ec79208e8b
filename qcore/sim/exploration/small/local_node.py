"""`LocalNode`: one node of the explored cluster: a real core, its disk, and messages that wait for the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from qcore.core.config import RaftConfig
from qcore.core.effects import (
    AppendLog,
    Apply,
    ReadReady,
    RestoreMachine,
    RoleChanged,
    SaveCommit,
    SaveHardState,
    Send,
    StoreSnapshot,
    TruncateLog,
    Write,
)
from qcore.core.effects import Effect as CoreEffect
from qcore.core.entry import DurableState, Entry, HardState, Snapshot
from qcore.core.events import Event, Tick, WriteDurable
from qcore.core.log.durable_state import apply_write
from qcore.core.messages import RaftMessage, RequestVoteResponse
from qcore.core.raft import RaftCore
from qcore.replica.durability_gate import DurabilityGate
from qcore.sim.exploration.bounds import Sync
from qcore.sim.exploration.small.core_copy import FixedDraws, copy_core
from qcore.sim.exploration.small.fingerprints import (
    Fingerprint,
    NodeRef,
    of_durable,
    of_message,
    of_server,
    of_value,
)

#: What every clock of the explored cluster shows, always, µs.
NOW: Final = 1_000_000

#: A vote: the term, and the candidate.
Vote = tuple[int, int]

#: A message that left a node: to which node, and the message.
Sent = tuple[int, RaftMessage]


@dataclass(slots=True)
class StepReport:
    """What a step of one node made visible to the others and to the checks, in order.

    Attributes:
        sent: messages that left the node.
        led: terms in which the node became leader.
        applied: entries that the node committed, each with the term in which the node was.
        restored: snapshots that replaced the node's state.
        read: (read id, index) of reads that are ready.
        broken: (check, note) of properties that the node broke by itself.
    """

    sent: list[Sent] = field(default_factory=list)
    led: list[int] = field(default_factory=list)
    applied: list[tuple[Entry, int]] = field(default_factory=list)
    restored: list[Snapshot] = field(default_factory=list)
    read: list[tuple[int, int]] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)


class LocalNode:
    """One node. It never changes: each method returns another node, with a report of what happened.

    Attributes:
        core: the real core.
        durable: the contents of the disk.
        unsynced: writes that are not durable yet, oldest first.
        held: messages that wait for a write, as (write id, receiver, message).
        sent_vote: the newest vote that left the node, if the disk neither holds it nor has a later term; else None. A
            correct node has none.
    """

    __slots__ = ("core", "durable", "held", "sent_vote", "unsynced")

    def __init__(
        self,
        core: RaftCore,
        durable: DurableState,
        unsynced: tuple[Write, ...] = (),
        held: tuple[tuple[int, int, RaftMessage], ...] = (),
        sent_vote: Vote | None = None,
    ) -> None:
        self.core = core
        self.durable = durable
        self.unsynced = unsynced
        self.held = held
        self.sent_vote = sent_vote

    @classmethod
    def start(
        cls,
        config: RaftConfig,
        durable: DurableState,
        sync: Sync,
        sent_vote: Vote | None = None,
    ) -> tuple[LocalNode, StepReport]:
        """A node starts from the contents of its disk. `sent_vote` is that of its earlier lives."""
        held = _copy_of(durable)
        core = RaftCore(config, held, rng=FixedDraws(), now=NOW)
        run = _Run(core, _copy_of(durable), [], [], sync, sent_vote)
        return run.finish(core.initial_effects())

    def step(self, event: Event, sync: Sync) -> tuple[LocalNode, StepReport]:
        """The node takes an event."""
        return self._run(copy_core(self.core), sync).take(event)

    def heartbeat(self, sync: Sync) -> tuple[LocalNode, StepReport]:
        """The leader's heartbeat timer fires, as if it had sent nothing for an interval."""
        core = copy_core(self.core)
        server = core._server
        server.heartbeat_deadline = NOW
        for progress in server.progress.values():
            progress.last_sent_at = NOW - server.heartbeat_us
        return self._run(core, sync).take(Tick())

    def sync(self, sync: Sync) -> tuple[LocalNode, StepReport]:
        """Every write becomes durable, and the node learns of it."""
        return self._run(copy_core(self.core), sync).sync()

    def crash(self, kept: int, sync: Sync) -> tuple[LocalNode, StepReport]:
        """The node crashes and starts again. Of its unsynced writes the first `kept` survive."""
        durable = _copy_of(self.durable)
        for write in self.unsynced[:kept]:
            apply_write(durable, write)
        return LocalNode.start(self.core._server.config, durable, sync, self.sent_vote)

    def _run(self, core: RaftCore, sync: Sync) -> _Run:
        return _Run(core, self.durable, [*self.unsynced], [*self.held], sync, self.sent_vote)

    def fingerprint(self) -> Fingerprint:
        """Stands for everything that decides what the node does from now on."""
        server = self.core._server
        durable_id = server.durable_write_id
        return (
            of_server(server),
            of_durable(self.durable),
            tuple([_of_write(write) for write in self.unsynced]),
            # Their order does not matter: messages arrive in any order.
            frozenset(
                Counter(
                    (after - durable_id, of_message(server.node_id, to, message))
                    for after, to, message in self.held
                ).items()
            ),
            self.sent_vote and (self.sent_vote[0], NodeRef(self.sent_vote[1])),
        )


class _Run:
    """A step in progress, on objects that may change."""

    def __init__(
        self,
        core: RaftCore,
        durable: DurableState,
        unsynced: list[Write],
        held: list[tuple[int, int, RaftMessage]],
        sync: Sync,
        sent_vote: Vote | None,
    ) -> None:
        self._core = core
        self._durable = durable
        self._unsynced = unsynced
        self._held = held
        self._sync_mode = sync
        self._sent_vote = sent_vote
        self._report = StepReport()
        self._gate = DurabilityGate()
        self._gate.release(core._server.durable_write_id)
        for after, to, message in held:
            self._gate.admit(Send(to, message, after))

    def take(self, event: Event) -> tuple[LocalNode, StepReport]:
        try:
            effects = self._core.step(event, NOW)
        except AssertionError as error:
            return self._failed(error)
        return self.finish(effects)

    def sync(self) -> tuple[LocalNode, StepReport]:
        try:
            self._sync()
        except AssertionError as error:
            return self._failed(error)
        return self._result()

    def finish(self, effects: Sequence[CoreEffect]) -> tuple[LocalNode, StepReport]:
        try:
            self._execute(effects)
            while self._unsynced and self._sync_mode == "instant":
                self._sync()
        except AssertionError as error:
            return self._failed(error)
        return self._result()

    def _failed(self, error: AssertionError) -> tuple[LocalNode, StepReport]:
        self._report.broken.append(("assertion", f"the core found: {error}"))
        return self._result()

    def _result(self) -> tuple[LocalNode, StepReport]:
        vote, hard = self._sent_vote, self._durable.hard_state
        if vote is not None and (hard.term > vote[0] or (hard.term, hard.voted_for) == vote):
            vote = None
        unsynced, held = tuple(self._unsynced), tuple(self._held)
        return LocalNode(self._core, self._durable, unsynced, held, vote), self._report

    def _sync(self) -> None:
        durable = _copy_of(self._durable)
        last = self._unsynced[-1].write_id
        for write in self._unsynced:
            apply_write(durable, write)
        hard = durable.hard_state
        if hard.voted_for is not None:
            self._compare_votes(hard.term, hard.voted_for)
        self._durable = durable
        self._unsynced = []
        for send in self._gate.release(last):
            assert isinstance(send.message, RaftMessage)  # the core sends no others
            self._leaves(send.to, send.message)
        self._held = [waiting for waiting in self._held if waiting[0] > last]
        self._execute(self._core.step(WriteDurable(last), NOW))

    def _execute(self, effects: Sequence[CoreEffect]) -> None:
        server, report = self._core._server, self._report
        for effect in effects:
            match effect:
                case Send():
                    self._send(effect)
                case SaveHardState() | AppendLog() | StoreSnapshot():
                    self._unsynced.append(effect)
                case TruncateLog():
                    if server.role == "leader":
                        note = (
                            f"leader {server.node_id} truncates its log from {effect.from_index} on"
                        )
                        report.broken.append(("leader_append_only", note))
                    self._unsynced.append(effect)
                case RoleChanged(role="leader"):
                    report.led.append(effect.term)
                case Apply():
                    report.applied.extend([(entry, server.term) for entry in effect.entries])
                case RestoreMachine():
                    report.restored.append(effect.snapshot)
                case ReadReady():
                    report.read.append((effect.read_id, effect.index))
                case SaveCommit() | _:
                    pass

    def _send(self, effect: Send) -> None:
        if self._gate.admit(effect):
            self._leaves(effect.to, cast(RaftMessage, effect.message))
        else:
            self._held.append((effect.after, effect.to, cast(RaftMessage, effect.message)))

    def _leaves(self, to: int, message: RaftMessage) -> None:
        self._report.sent.append((to, message))
        if type(message) is RequestVoteResponse and message.vote_granted:
            self._compare_votes(message.term, to)
            self._sent_vote = (message.term, to)

    def _compare_votes(self, term: int, candidate: int) -> None:
        """Compare a vote with those that count: the one on the disk, and one that left without being durable."""
        hard = self._durable.hard_state
        for vote in ((hard.term, hard.voted_for), self._sent_vote):
            if vote is not None and vote[0] == term and vote[1] not in (None, candidate):
                node = self._core.node_id
                note = f"node {node} voted for {vote[1]} and for {candidate} in term {term}"
                self._report.broken.append(("election_safety", note))
                return


def _copy_of(state: DurableState) -> DurableState:
    hard = state.hard_state
    return DurableState(
        HardState(hard.term, hard.voted_for, hard.commit, hard.promise_ms),
        state.snapshot,
        [*state.entries],
    )


def _of_write(write: Write) -> Fingerprint:
    match write:
        case SaveHardState(hard_state=hard):
            return "hard_state", of_durable(DurableState(hard))
        case AppendLog(entries=entries):
            return "append", of_durable(DurableState(entries=entries))
        case TruncateLog(from_index=index):
            return "truncate", index
        case StoreSnapshot():
            return (
                "snapshot",
                of_value(write.snapshot),
                write.compact_through,
                write.reset_log,
            )
