"""The load that clients make: operations at random moments on random keys."""

from __future__ import annotations

import math
from random import Random

from qcore.sim.clients import Client
from qcore.sim.engine import Engine
from qcore.sim.latency import Sampler
from qcore.sim.operations import ClientOp, Requests
from qcore.sim.scenario.cluster import WorkloadSpec


class Load:
    """What one client does of its own accord.

    Args:
        client: who does it.
        spec: rates, mix and keys.
        rng: draws moments, kinds, keys.
        stop_us: nothing new begins from this moment on.
        requests: draws what to ask of a machine of the user's own.
    """

    def __init__(
        self,
        client: Client,
        engine: Engine,
        spec: WorkloadSpec,
        rng: Random,
        stop_us: int,
        requests: Requests | None = None,
    ) -> None:
        self._requests = requests
        self._client = client
        self._engine = engine
        self._spec = spec
        self._rng = rng
        self._stop_us = stop_us
        self._values = 0
        self._think: Sampler = spec.think.sampler(rng)
        self._mean_gap_us = spec.clients * 1_000_000 / spec.rate_per_s if spec.rate_per_s else 0.0

    def start(self, start_us: int) -> None:
        """Begin at this moment."""
        if self._spec.mode == "closed":
            self._engine.at(start_us + self._think(), self._next_in_closed_loop)
        elif self._mean_gap_us:
            self._schedule_arrival(max(start_us, self._engine.now))

    # Open loop: a Poisson process, whatever becomes of the operations.

    def _schedule_arrival(self, now: int) -> None:
        due = now + 1 + int(-math.log(1.0 - self._rng.random()) * self._mean_gap_us)
        if due < self._stop_us:
            self._engine.at(due, self._arrival)

    def _arrival(self) -> None:
        self._begin()
        self._schedule_arrival(self._engine.now)

    # Closed loop: one operation at a time.

    def _next_in_closed_loop(self) -> None:
        if self._engine.now < self._stop_us:
            self._begin(closed=True)

    def _think_then_next(self, _op: ClientOp) -> None:
        self._engine.after(max(1, self._think()), self._next_in_closed_loop)

    def _begin(self, *, closed: bool = False) -> None:
        spec, draw = self._spec, self._rng.random
        then = self._think_then_next if closed else None
        if self._requests is not None:
            kind, payload = self._requests(self._rng)
            self._client.ask(kind, payload, timeout_ms=spec.timeout_ms, then=then)
            return
        key = f"k{int(draw() * spec.keys)}"
        dice = draw()
        if dice < spec.read_fraction:
            self._client.begin("read", key, timeout_ms=spec.timeout_ms, then=then)
            return
        self._values += 1
        value = self._client.number * 1_000_000 + self._values
        if dice < spec.read_fraction + spec.cas_fraction:
            expected = self._client.seen.get(key)
            self._client.begin(
                "cas", key, value, expected=expected, timeout_ms=spec.timeout_ms, then=then
            )
        else:
            self._client.begin("write", key, value, timeout_ms=spec.timeout_ms, then=then)
