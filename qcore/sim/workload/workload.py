"""Lets each client begin its operations: at random times on random keys, or increments in a session."""

from __future__ import annotations

import json
import math
from random import Random

from qcore.errors import SessionExpired
from qcore.replica.sessions.session_table import open_session_payload, session_command_payload
from qcore.sim.scenario.specs.workload_spec import WorkloadSpec
from qcore.sim.workload.load.drawn_values import ValueSource, key_source
from qcore.sim.workload.load.phase_plan import PhasePlan
from qcore.sim.workload.operations import ClientOperation, RequestSource
from qcore.sim.workload.sim_client import SimClient
from qcore.sim.world.engine import Engine

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
        self._plan = PhasePlan(spec, rng)
        self._next_key = key_source(spec, rng)
        self._next_value = ValueSource(spec, client.number, rng)

    def start(self, start_us: int) -> None:
        """Begin at this time."""
        if self._spec.mode == "closed":
            self._engine.at(start_us + self._think(start_us), self._next_in_closed_loop)
        else:
            self._schedule_arrival(max(start_us, self._engine.now))

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

    def _arrival(self) -> None:
        self._begin()
        self._schedule_arrival(self._engine.now)

    # Closed loop: one operation at a time.

    def _next_in_closed_loop(self) -> None:
        if self._engine.now < self._stop_us:
            self._begin(closed=True)

    def _think(self, now: int) -> int:
        return self._plan.at(now).think()

    def _think_then_next(self, _op: ClientOperation) -> None:
        self._engine.after(max(1, self._think(self._engine.now)), self._next_in_closed_loop)

    def _begin(self, *, closed: bool = False) -> None:
        spec = self._spec
        then = self._think_then_next if closed else None
        if self._requests is not None:
            kind, payload = self._requests(self._rng)
            self._client.begin_raw(kind, payload, timeout_ms=spec.timeout_ms, then=then)
            return
        key = self._next_key()
        dice = self._rng.random()
        phase = self._plan.at(self._engine.now)
        if dice < phase.reads:
            self._client.begin("read", key, timeout_ms=spec.timeout_ms, then=then)
            return
        value = self._next_value()
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
    """

    _session = 0
    _sequence = 0
    opened = 0
    expired = 0

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
            self._sequence = 0
            self._outstanding = {}
            if first:
                super().start(self._engine.now)
        elif self._engine.now < self._stop_us:  # a second session does no harm
            self._engine.after(_REOPEN_US, self._open)

    def _begin(self, *, closed: bool = False) -> None:
        key = self._next_key()
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
            if op.note == SessionExpired.__name__ and session == self._session:
                self.expired += 1
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
