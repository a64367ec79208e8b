"""The workload of a scenario: its clients and their operations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qcore.replica.sessions.session_table import LIFETIME_MAX_MS, LIFETIME_MIN_MS
from qcore.sim.scenario.distributions import Distribution, LatencySpec, fixed
from qcore.sim.scenario.specs.load_spec import KeySkewSpec, Phases, PhaseSpec, Pinned, ValueBytes
from qcore.sim.scenario.specs.node_settings import Natural, Positive
from qcore.sim.scenario.specs.watcher_spec import WatcherSpec
from qcore.sim.scenario.values import Flag, Milliseconds, Probability, ReadKinds, Spec


class RequestSpec(Spec):
    """A request that clients send to a custom state machine: `{write: text}` or `{read: text}`."""

    write: str | None = None
    read: str | None = None
    weight: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _one_of_both(self) -> RequestSpec:
        if (self.write is None) == (self.read is None):
            raise ValueError("give either `write` or `read`, with the text of the request")
        return self

    @property
    def kind(self) -> Literal["write", "read"]:
        return "read" if self.write is None else "write"

    @property
    def payload(self) -> str:
        text = self.read if self.write is None else self.write
        assert text is not None
        return text


class WorkloadSpec(Spec):
    """What the clients do.

    Open loop: all clients together begin `rate_per_s` operations a second, at random moments, without waiting for
    responses. Closed loop (`mode: closed`, or `think_ms`): each client has one operation at a time and thinks before
    the next.

    Operations go to `keys` registers. An operation that is neither a read nor a cas writes a value that no other
    operation writes. Each read is of one of the kinds in `read_kind`. A stale read may see a state that is up to
    `max_staleness_ms` old.

    With `sessions`, every operation adds 1 to a register, once, in a client session. After `attempt_ms` without a
    response the client repeats it at another node. A session that was idle for `session_lifetime_ms` expires, and
    the client opens another.

    With a custom state machine, the clients draw from `requests` by weight; keys and fractions have no effect.

    The `watchers` watch what changes. Every notice is checked; see `qcore.sim.invariants.watch_checker`.
    """

    kind: Literal["registers", "set", "append"] = Field(
        default="registers",
        description="What the operations go to. `registers`: writes, reads and cas. `set`: each write adds an element "
        "to a set, and reads return the set; `set_elements` judges them. `append`: each write appends an element to a "
        "list, and reads return the list; `append_order` judges them. No element is added twice. Sets and lists have "
        "a separate state machine, so the cluster names none.",
    )
    clients: Annotated[int, Field(ge=0, le=10_000, strict=True)] = 3
    rate_per_s: Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)] = 50.0
    mode: Literal["open", "closed"] = "open"
    think_ms: LatencySpec | None = None
    read_fraction: Probability = 0.4
    cas_fraction: Probability = 0.1
    keys: Positive = 8
    read_kind: ReadKinds = ("read",)
    max_staleness_ms: Natural = 1000
    sessions: Flag = False
    session_lifetime_ms: Annotated[
        int, Field(ge=LIFETIME_MIN_MS, le=LIFETIME_MAX_MS, strict=True)
    ] = LIFETIME_MAX_MS
    attempt_ms: Positive = 300
    requests: tuple[RequestSpec, ...] = ()
    timeout_ms: Annotated[int, Field(ge=1, strict=True)] = 1000
    watchers: WatcherSpec = WatcherSpec()
    phases: Phases = Field(
        default=(),
        description="Parts of the load with another rate or mix, in the order of their times. What a phase leaves out "
        "stays as the workload says.",
    )
    key_skew: KeySkewSpec | None = Field(
        default=None,
        description="How unevenly operations choose their keys: `{zipf: 1.1}`, or `{hot_fraction: 0.9, hot_keys: 1}`. "
        "Left out: all keys equally often.",
    )
    value_bytes: ValueBytes = Field(
        default=None,
        description="The size of the written values in bytes, a number or `[min, max]`, from 16 to 262144. The values "
        "are texts, no two of them equal. Left out: plain numbers.",
    )
    wait_for_leader: Flag = Field(
        default=False,
        description="Whether the load begins with the first leader, if that comes after `start_ms`.",
    )
    pinned: Pinned = Field(
        default=None,
        description="The node that a client asks first with each operation: an id, a list of ids of which each client "
        "gets one in turn, `spread` (all first members in turn), or `leader` (the node that leads at that moment). If "
        "that node redirects the operation, rejects it or is down, the client asks others, for this operation only. "
        "Left out: the node that served the last operation.",
    )
    move_every_ms: LatencySpec | None = Field(
        default=None,
        description="How long a client prefers a node before it draws another one (of `pinned`, or of the first "
        "members): milliseconds or a distribution, at least 1 ms.",
    )
    start_ms: Milliseconds = 0.0
    stop_ms: Milliseconds | None = None

    @field_validator("requests", mode="before")
    @classmethod
    def _list_of_requests(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="before")
    @classmethod
    def _closed_by_think_time(cls, value: object) -> object:
        if isinstance(value, dict) and "think_ms" in value:
            return {"mode": "closed", **value}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> WorkloadSpec:
        for where, phase in [
            ("", PhaseSpec()),
            *((f"phase {number}: ", phase) for number, phase in enumerate(self.phases, 1)),
        ]:
            self._check_phase(where, phase)
        skew = self.key_skew
        if skew is not None and skew.hot_fraction is not None and skew.hot_keys >= self.keys:
            raise ValueError(
                f"key_skew: hot_keys ({skew.hot_keys}) must be below the number of keys ({self.keys})"
            )
        if self.kind != "registers":
            self._check_collections()
        if self.requests or self.sessions:
            for name in ("key_skew", "value_bytes") if self.requests else ("value_bytes",):
                if getattr(self, name) is not None:
                    what = "`requests` give their own texts" if self.requests else "`sessions` add"
                    raise ValueError(f"{name} has no effect here: {what}; leave it out")
        if self.think_ms is not None and self.mode == "open":
            raise ValueError("think_ms belongs to the closed loop; leave out `mode: open`")
        if self.move_every_ms is not None and (
            self.pinned == "leader" or (isinstance(self.pinned, tuple) and len(self.pinned) < 2)
        ):
            raise ValueError(
                "move_every_ms needs several nodes to move between: give pinned a list of ids, or leave it out"
            )
        return self

    def _check_collections(self) -> None:
        if self.sessions or self.requests:
            name = "sessions" if self.sessions else "requests"
            raise ValueError(f"kind: {self.kind} and {name} are two kinds of load; leave one out")
        given: list[WorkloadSpec | PhaseSpec] = [self, *self.phases]
        if any("cas_fraction" in part.model_fields_set and part.cas_fraction for part in given):
            raise ValueError(
                f"cas_fraction belongs to registers, not to kind: {self.kind}; leave it out"
            )

    def _check_phase(self, where: str, phase: PhaseSpec) -> None:
        reads, cas = self.fractions(phase)
        if reads + cas > 1:
            raise ValueError(
                f"{where}read_fraction ({reads}) and cas_fraction ({cas}) together exceed 1"
            )
        if phase.think_ms is not None and self.mode == "open":
            raise ValueError(f"{where}think_ms belongs to the closed loop; set `mode: closed`")
        if phase.rate_per_s is not None and self.mode == "closed":
            raise ValueError(
                f"{where}rate_per_s belongs to the open loop; in the closed loop, give think_ms"
            )

    def fractions(self, phase: PhaseSpec) -> tuple[float, float]:
        """The shares of reads and of cas operations in a phase."""
        return (
            self.read_fraction if phase.read_fraction is None else phase.read_fraction,
            self.cas_fraction if phase.cas_fraction is None else phase.cas_fraction,
        )

    def without_cas(self) -> WorkloadSpec:
        """The same load with writes instead of cas operations, for a machine that has none."""
        phases = tuple(phase.model_copy(update={"cas_fraction": 0.0}) for phase in self.phases)
        return self.model_copy(update={"cas_fraction": 0.0, "phases": phases})

    @property
    def think(self) -> Distribution:
        return self.think_ms if self.think_ms is not None else fixed(10)

    @property
    def pinned_ids(self) -> tuple[int, ...]:
        """The nodes that `pinned` names by id."""
        return self.pinned if isinstance(self.pinned, tuple) else ()
