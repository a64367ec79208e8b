"""Lets each client begin its operations: at random times on random keys, or increments in a session."""

from __future__ import annotations

import json
import math
import sys
from bisect import bisect_right
from itertools import accumulate
from random import Random

from qcore.errors import SessionExpired
from qcore.replica.sessions.session_table import open_session_payload, session_command_payload
from qcore.sim.scenario.distributions import Sampler
from qcore.sim.scenario.specs.workload_spec import WorkloadSpec
from qcore.sim.scenario.values import microseconds
from qcore.sim.workload.load.phase_plan import PhasePlan
from qcore.sim.workload.operations import ClientOperation, RequestSource, Value
from qcore.sim.workload.sim_client import SimClient
from qcore.sim.world.clock.engine import Engine

_REOPEN_US = 50_000


class ClientWorkload:
    """The operations of one client.

    Args:
        client: the client.
        spec: rates, mix and keys.
        rng: draws times, kinds and keys.
        stop_us: no operation begins at this time or later.
        requests: draws the requests to a custom machine; None for a built-in one.
    """

    def __init__(
        self,
        client: SimClient,
        engine: Engine,
        spec: WorkloadSpec,
        rng: Random,
        stop_us: int,
        requests: RequestSource | None = None,
    ) -> None:
        self._requests = requests
        self._client = client
        self._engine = engine
        self._spec = spec
        self._rng = rng
        self._stop_us = stop_us
        self._values = 0
        self._keys = spec.keys
        self._names: dict[int, str] = {}
        self._plan = PhasePlan(spec)
        self._think: Sampler = spec.think.sampler(rng)
        skew = spec.key_skew
        self._key_sums = list(accumulate(skew.weights(spec.keys))) if skew is not None else None
        self._value_size = spec.value_bytes.sampler(rng) if spec.value_bytes is not None else None
        if spec.pin:
            client.pinned = spec.pin[(client.number - 1) % len(spec.pin)]

    def start(self, start_us: int) -> None:
        """Begin at this time."""
        if self._spec.mode == "closed":
            self._engine.at(start_us + self._think(), self._next_in_closed_loop)
        else:
            self._schedule_arrival(max(start_us, self._engine.now))
        if self._spec.move_every_ms is not None:
            self._plan_move(start_us, microseconds(self._spec.move_every_ms))

    # Open loop: a Poisson process, independent of the outcomes.

    def _schedule_arrival(self, now: int) -> None:
        """Schedule the first arrival after this time.

        An arrival after the end of the phase is drawn again from there, with the rate of the next one. The past has no
        influence on the next arrival of a Poisson process, so this changes no rate.
        """
        while now < self._stop_us:
            phase = self._plan.at(now)
            if phase.mean_gap_us:
                due = now + 1 + int(-math.log(1.0 - self._rng.random()) * phase.mean_gap_us)
                if due < phase.until_us:
                    if due < self._stop_us:
                        self._engine.at(due, self._arrival)
                    return
            now = phase.until_us

    def _plan_move(self, now: int, mean_us: int) -> None:
        due = now + 1 + int(self._rng.expovariate(1.0) * mean_us)
        if due < self._stop_us:
            self._engine.at(due, lambda: self._move(mean_us))

    def _move(self, mean_us: int) -> None:
        self._client.move_on()
        self._plan_move(self._engine.now, mean_us)

    def _key(self) -> str:
        dice = self._rng.random()
        sums = self._key_sums
        number = int(dice * self._keys)
        if sums is not None:  # the product may be rounded up to the sum
            number = bisect_right(sums, dice * sums[-1], 0, self._keys - 1)
        key = self._names.get(number)
        if key is None:
            key = self._names[number] = sys.intern(f"k{number}")
        return key

    def _new_value(self) -> Value:
        """A value that no other operation writes: a number, or a text of the drawn size if the workload has one."""
        self._values += 1
        value = self._client.number * 1_000_000 + self._values
        if self._value_size is None:
            return value
        return f"{value} ".ljust(self._value_size() // 1000, "x")

    def _arrival(self) -> None:
        self._begin()
        self._schedule_arrival(self._engine.now)

    # Closed loop: one operation at a time.

    def _next_in_closed_loop(self) -> None:
        if self._engine.now < self._stop_us:
            self._begin(closed=True)

    def _think_then_next(self, _op: ClientOperation) -> None:
        self._engine.after(max(1, self._think()), self._next_in_closed_loop)

    def _begin(self, *, closed: bool = False) -> None:
        spec, draw = self._spec, self._rng.random
        then = self._think_then_next if closed else None
        if self._requests is not None:
            kind, payload = self._requests(self._rng)
            self._client.begin_raw(kind, payload, timeout_ms=spec.timeout_ms, then=then)
            return
        key = self._key()
        dice = draw()
        phase = self._plan.at(self._engine.now)
        if dice < phase.reads:
            self._client.begin("read", key, timeout_ms=spec.timeout_ms, then=then)
            return
        value = self._new_value()
        if dice < phase.reads + phase.cas:
            expected = self._client.last_values.get(key)
            self._client.begin(
                "cas", key, value, expected=expected, timeout_ms=spec.timeout_ms, then=then
            )
        else:
            self._client.begin("write", key, value, timeout_ms=spec.timeout_ms, then=then)


class SessionWorkload(ClientWorkload):
    """Increments in a session: each operation adds 1 to a register, exactly once.

    When a response reports that the session has expired, the client opens another one. Until that is open, no operation
    begins.

    Attributes:
        opened, expired: how many sessions the client opened, and how many of them it found expired.
        shortest_life_us: a session that expires sooner after its last use than this is a violation; 0: none is. The
            cluster clock never runs faster than the clock of a leader.
    """

    _session = 0
    _sequence = 0
    _used_us = 0
    opened = 0
    expired = 0
    shortest_life_us = 0

    def start(self, start_us: int) -> None:
        """Open the session at this time, and begin when it is open."""
        self._outstanding: dict[int, None] = {}
        self._engine.at(max(start_us, self._engine.now), self._open)

    def _open(self) -> None:
        self._client.begin_raw(
            "session",
            open_session_payload(self._spec.session_lifetime_ms),
            timeout_ms=self._spec.timeout_ms,
            attempt_ms=self._spec.attempt_ms,
            then=self._opened,
            hidden=True,
        )

    def _opened(self, op: ClientOperation) -> None:
        if op.outcome == "ok":
            first = not self.opened
            self.opened += 1
            self._session = int(str(op.output))
            self._used_us = op.invoke_us
            self._sequence = 0
            self._outstanding = {}
            if first:
                super().start(self._engine.now)
        elif self._engine.now < self._stop_us:  # a second session does no harm
            self._engine.after(_REOPEN_US, self._open)

    def _judge_expiry(self, session: int) -> None:
        idle_us = self._engine.now - self._used_us
        if idle_us < self.shortest_life_us:
            self._client.report(
                "answer",
                0,
                f"client {self._client.number} found its session {session} expired, at most "
                f"{idle_us / 1000:.0f} ms after the session was used; it lives for {self._spec.session_lifetime_ms} ms",
            )

    def _begin(self, *, closed: bool = False) -> None:
        key = self._key()
        if not self._session:
            if closed:
                self._engine.after(_REOPEN_US, self._next_in_closed_loop)
            return
        session, outstanding = self._session, self._outstanding
        self._sequence += 1
        sequence = self._sequence
        acknowledged = next(iter(outstanding), sequence) - 1
        outstanding[sequence] = None

        def done(op: ClientOperation) -> None:
            del outstanding[sequence]
            if op.outcome == "ok" and session == self._session:
                self._used_us = max(self._used_us, op.invoke_us)
            if op.note == SessionExpired.__name__ and session == self._session:
                self.expired += 1
                self._judge_expiry(session)
                self._session = 0
                self._open()
            if closed:
                self._think_then_next(op)

        command = json.dumps({"op": "add", "key": key, "amount": 1})
        self._client.begin_raw(
            "session",
            session_command_payload(session, sequence, acknowledged, command),
            timeout_ms=self._spec.timeout_ms,
            attempt_ms=self._spec.attempt_ms,
            then=done,
            key=key,
        )
