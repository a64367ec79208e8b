"""`ElectionTrials`: lets a cluster elect a leader again and again, each time from the same start."""

from __future__ import annotations

import math
import random
from typing import Final

from qcore.core.events import MessageReceived
from qcore.core.messages import AppendEntries
from qcore.sim.elections.election_setup import FIRST_TERM, ElectionSetup
from qcore.sim.elections.latency_text import upper_bound_us
from qcore.sim.elections.trial_loop import Outcome, TrialLoop

#: The most heartbeats of the leader that one trial simulates.
_MAX_HEARTBEATS: Final = 200


class ElectionTrials:
    """Runs trials one after the other, with one source of random numbers.

    Args:
        setup: what the trials have in common.
        rng: draws timeouts, latencies and the moment of the crash.
    """

    def __init__(self, setup: ElectionSetup, rng: random.Random) -> None:
        self._setup = setup
        self._rng = rng
        self._latency = setup.latency.sampler(rng)
        self._disk = None if setup.disk is None else setup.disk.sampler(rng)
        ids = setup.server_ids()
        self._starts = {node: (setup.config(node), setup.durable_state(node)) for node in ids}
        self._limit_us = round(setup.limit_ms * 1000)
        self._heartbeat_us = max(1, round(setup.heartbeat_ms * 1000))
        self._heartbeats = self._count_heartbeats() if setup.crash_leader else 0

    @property
    def no_leader_from(self) -> int:
        """When the time without a leader begins, µs on the clock of each trial."""
        return self._heartbeats * self._heartbeat_us

    def run(self) -> Outcome:
        """Run the next trial."""
        trial = TrialLoop(self._latency, self._disk, self._rng)
        if self._heartbeats:
            self._follow_a_leader(trial)
        else:
            for node, start in self._starts.items():
                trial.start(node, *start, now=0)
        return trial.run(self.no_leader_from + self._limit_us)

    def _count_heartbeats(self) -> int:
        """How many of the leader's last heartbeats matter.

        If each arrives before the next is sent, only the last does.
        """
        slowest = upper_bound_us(self._setup.latency)
        if slowest < self._heartbeat_us:
            return 1
        timeout_us = self._setup.timeout_max_ms * 1000
        span = timeout_us + min(slowest, 4 * timeout_us)
        return min(_MAX_HEARTBEATS, 1 + math.ceil(span / self._heartbeat_us))

    def _follow_a_leader(self, trial: TrialLoop) -> None:
        """Start every server as a follower, and let the last heartbeats of the leader arrive."""
        last_sent_at = self.no_leader_from - int(self._rng.random() * self._heartbeat_us)
        for node, start in self._starts.items():
            sent_at = last_sent_at - (self._heartbeats - 1) * self._heartbeat_us
            arrival = sent_at + self._latency()
            trial.start(node, *start, now=arrival)
            heartbeat = MessageReceived(self._setup.leader_id, self._heartbeat_for(node))
            trial.push(arrival, node, heartbeat)
            for _ in range(self._heartbeats - 1):
                sent_at += self._heartbeat_us
                trial.push(sent_at + self._latency(), node, heartbeat)

    def _heartbeat_for(self, node: int) -> AppendEntries:
        last = self._setup.last_index(node)
        return AppendEntries(FIRST_TERM, self._setup.leader_id, last, FIRST_TERM, 1, [])
