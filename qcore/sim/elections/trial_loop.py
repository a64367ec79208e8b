"""`TrialLoop`: the event loop of one trial, which drives real cores until one of them leads.

It has a queue of messages and timers, and nothing else: no state machine, no clients, no trace. Each message takes a
new draw of the latency, so a later message may arrive first. Handling an event takes no time.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from qcore.core.config import RaftConfig
from qcore.core.effects import AppendLog, Effect, RoleChanged, SaveHardState, Send
from qcore.core.entry import DurableState
from qcore.core.events import Event, MessageReceived, Tick, WriteDurable
from qcore.core.messages import AppendEntriesResponse
from qcore.core.raft import RaftCore
from qcore.core.raft_server import NEVER
from qcore.sim.scenario.distributions import Sampler

_TICK: Final = Tick()


@dataclass(slots=True)
class Outcome:
    """How one trial ended.

    Attributes:
        elected_at: when a server became leader, µs on the clock of the trial; None for a censored trial.
        first_timeout_at: when the first server campaigned, µs; None if none did.
        first_term: the first term in which a server asked for votes; 0 if none did.
        candidates: how many servers asked for votes in that term.
        newest_term: the newest term in which a server asked for votes.
        elected_term: the term of the leader; 0 for a censored trial.
        messages: requests for votes and pre-votes, and responses to them, that were sent.
    """

    elected_at: int | None = None
    first_timeout_at: int | None = None
    first_term: int = 0
    candidates: int = 0
    newest_term: int = 0
    elected_term: int = 0
    messages: int = 0


class TrialLoop:
    """The servers of one trial, their clock, and what is on its way between them.

    Args:
        latency: draws how long a message takes, µs.
        disk: draws how long a write takes, µs; None if every write is durable immediately.
        rng: draws the election timeouts.
    """

    def __init__(self, latency: Sampler, disk: Sampler | None, rng: random.Random) -> None:
        self._latency = latency
        self._disk = disk
        self._rng = rng
        self._cores: dict[int, RaftCore] = {}
        self._timers: dict[int, int] = {}
        #: With a disk: when it is free, and when each write is durable, by node.
        self._disk_free_at: dict[int, int] = {}
        self._durable_at: dict[int, dict[int, int]] = {}
        #: (time, number, node, event); the event None is the node's timer.
        self._queue: list[tuple[int, int, int, Event | None]] = []
        self._pushed = 0
        self._outcome = Outcome()

    def start(self, node: int, config: RaftConfig, durable: DurableState, now: int) -> None:
        """Start a server at `now`. Its first election timeout begins then."""
        core = RaftCore(config, durable, rng=self._rng, now=now)
        core.initial_effects()
        self._cores[node] = core
        if self._disk is not None:
            self._disk_free_at[node] = 0
            self._durable_at[node] = {}
        self._set_timer(node, core)

    def push(self, time: int, node: int, event: Event | None) -> None:
        """Let an event happen at a server. None: its timer."""
        self._pushed += 1
        heappush(self._queue, (time, self._pushed, node, event))

    def run(self, until: int) -> Outcome:
        """Run until a server leads, or until the time, µs."""
        outcome, queue, cores, timers = self._outcome, self._queue, self._cores, self._timers
        while queue and outcome.elected_at is None:
            now, _, node, event = heappop(queue)
            if now > until:
                break
            if event is None:
                if timers[node] != now:
                    continue  # the timer was set again
                event = _TICK
            core = cores[node]
            self._step(node, core, event, now)
            if outcome.elected_at is None:
                self._set_timer(node, core)
        return outcome

    def _set_timer(self, node: int, core: RaftCore) -> None:
        deadline = core.next_deadline()
        if deadline != self._timers.get(node, NEVER):
            self._timers[node] = deadline
            if deadline < NEVER:
                self.push(deadline, node, None)

    def _step(self, node: int, core: RaftCore, event: Event, now: int) -> None:
        written = self._execute(node, core.step(event, now), now)
        while written and self._outcome.elected_at is None:
            durable = WriteDurable(written)
            if self._disk is not None:
                self.push(self._durable_at[node][written], node, durable)
                return
            written = self._execute(node, core.step(durable, now), now)

    def _execute(self, node: int, effects: list[Effect], now: int) -> int:
        """Carry out the effects of a step. Returns the newest write among them; 0 if there is none."""
        written = 0
        for effect in effects:
            if isinstance(effect, Send):
                self._send(node, effect, now)
            elif isinstance(effect, SaveHardState | AppendLog):
                # The writes of one step share one sync.
                if self._disk is not None:
                    self._write(node, effect.write_id, now, shared=written)
                written = effect.write_id
            elif isinstance(effect, RoleChanged):
                self._note_role(effect, now)
                if self._outcome.elected_at is not None:
                    return 0
        return written

    def _send(self, node: int, send: Send, now: int) -> None:
        message = send.message
        if type(message) is AppendEntriesResponse:
            return  # to the leader, which is down
        self._outcome.messages += 1
        if send.to in self._cores:
            leaves_at = now
            if self._disk is not None:
                leaves_at = max(now, self._durable_at[node].get(send.after, 0))
            self.push(leaves_at + self._latency(), send.to, MessageReceived(node, message))

    def _write(self, node: int, write_id: int, now: int, *, shared: int) -> None:
        assert self._disk is not None
        times = self._durable_at[node]
        if shared:
            times[write_id] = times[shared]
        else:
            self._disk_free_at[node] = max(now, self._disk_free_at[node]) + self._disk()
            times[write_id] = self._disk_free_at[node]

    def _note_role(self, change: RoleChanged, now: int) -> None:
        outcome = self._outcome
        if change.role == "leader":
            outcome.elected_at = now
            outcome.elected_term = change.term
        elif change.role == "candidate":
            if not outcome.first_term:
                outcome.first_term = change.term
            if change.term == outcome.first_term:
                outcome.candidates += 1
            outcome.newest_term = max(outcome.newest_term, change.term)
        if outcome.first_timeout_at is None and change.role in ("pre_candidate", "candidate"):
            outcome.first_timeout_at = now
