"""The workload of a scenario: its clients and their operations."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qcore.replica.sessions.session_table import LIFETIME_MAX_MS, LIFETIME_MIN_MS
from qcore.sim.scenario.distributions import Distribution, LatencySpec, fixed
from qcore.sim.scenario.specs.load_shape_spec import KeySkewSpec, PhaseSpec
from qcore.sim.scenario.specs.node_settings import Natural, Positive
from qcore.sim.scenario.specs.program_faults_spec import ProgramFaultsSpec
from qcore.sim.scenario.specs.watcher_spec import WatcherSpec
from qcore.sim.scenario.values import Flag, Milliseconds, Probability, ReadKinds, Spec


class RequestSpec(Spec):
    """A request that clients send to a custom state machine: `{write: text}` or `{read: text}`."""

    write: str | None = Field(default=None, description="The text of a command.")
    read: str | None = Field(default=None, description="The text of a query.")
    weight: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] = Field(
        default=1.0, description="How often clients draw this request, in relation to the others."
    )

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

    The `watchers` watch what changes. Every notice is checked.
    """

    kind: Literal["registers", "set", "append"] = Field(
        default="registers",
        description=(
            "What the operations go to. `registers`: writes, reads and cas. `set`: each write adds an element to a "
            "set, and reads return the set; `set_elements` judges them. `append`: each write appends an element to a "
            "list, and reads return the list; `append_order` judges them. No element is added twice. Sets and lists "
            "have a separate state machine, so the cluster names none."
        ),
    )
    clients: Annotated[int, Field(ge=0, le=10_000, strict=True)] = Field(
        default=3, description="The number of clients; 0 means no workload."
    )
    rate_per_s: Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)] = Field(
        default=50.0,
        description="Open loop: the operations that all clients together begin in a second, at random moments.",
    )
    mode: Literal["open", "closed"] = Field(
        default="open",
        description=(
            "`open`: operations begin at the rate, without waiting for responses. `closed`: each client has "
            "one operation at a time."
        ),
    )
    think_ms: LatencySpec | None = Field(
        default=None,
        description=(
            "Closed loop: the pause between two operations of a client, in milliseconds; 10 if left out. It "
            "implies `mode: closed`."
        ),
    )
    read_fraction: Probability = Field(default=0.4, description="The share of reads.")
    cas_fraction: Probability = Field(
        default=0.1, description="The share of cas. All other operations are writes."
    )
    keys: Positive = Field(default=8, description="The number of registers: `k0`, `k1` and so on.")
    key_skew: KeySkewSpec | None = Field(
        default=None,
        description="How unevenly the registers are used: `{zipf: 1.1}` or `{hot: 0.9}`. Left out: evenly.",
    )
    value_bytes: LatencySpec | None = Field(
        default=None,
        description=(
            "The size of each written value in bytes, a distribution of the same form as a latency. Left out: an "
            "integer."
        ),
    )
    phases: tuple[PhaseSpec, ...] = Field(
        default=(),
        description=(
            "Phases of the load, one after the other, such as `[{until_ms: 3000, rate_per_s: 50}, "
            "{rate_per_s: 500, read_fraction: 0.9}]`."
        ),
    )
    pin: tuple[Annotated[int, Field(ge=1, strict=True)], ...] = Field(
        default=(),
        description=(
            "The node to which clients send everything, even if it does not lead. From a list, each client takes one "
            "in turn. Left out, clients spread and follow redirects."
        ),
    )
    move_every_ms: Annotated[float, Field(gt=0, strict=True)] | None = Field(
        default=None,
        description="The mean time in milliseconds after which a client moves to another node by itself.",
    )
    wait_for_leader: Flag = Field(
        default=False, description="The clients begin only once a first leader is elected."
    )
    read_kind: ReadKinds = Field(
        default=("read",),
        description=(
            "How reads are served: `read` (a quorum confirms), `lease_read`, `follower_read` or `stale_read`. "
            "From a list, each read draws one."
        ),
    )
    max_staleness_ms: Natural = Field(
        default=1000,
        description="The allowed age of the state that a stale read sees, in milliseconds.",
    )
    sessions: Flag = Field(
        default=False,
        description=(
            "Every operation adds 1 to a register, in a client session. Without a response the client repeats "
            "it at another node, and it must count once."
        ),
    )
    session_lifetime_ms: Annotated[
        int, Field(ge=LIFETIME_MIN_MS, le=LIFETIME_MAX_MS, strict=True)
    ] = Field(
        default=LIFETIME_MAX_MS,
        description=(
            "A session expires when it was idle for this long, in milliseconds. Its client learns that, opens "
            "another and continues."
        ),
    )
    attempt_ms: Positive = Field(
        default=300,
        description="With sessions: the time in milliseconds before a client repeats an operation.",
    )
    requests: tuple[RequestSpec, ...] = Field(
        default=(),
        description=(
            "For a custom state machine: the requests that clients draw by weight. A name is short for "
            "`requests_function`."
        ),
    )
    requests_function: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] | None = Field(
        default=None,
        description=(
            "A function `function(rng)` in the file of the custom state machine, which returns "
            '`("write", command)` or `("read", query)`. Left out, the function `requests` there is used.'
        ),
    )
    program: Annotated[str, Field(pattern=r"^([^:]+:)?[A-Za-z_]\w*$")] | None = Field(
        default=None,
        description=(
            "A client program that every client runs in place of drawing operations: `file.py:function`, or a "
            "function in the file of the custom state machine. Left out, the function `client` there is used if that "
            "file has no `requests`."
        ),
    )
    program_faults: ProgramFaultsSpec | None = Field(
        default=None,
        description="Faults of the processes that run the program. Left out: none, and exact clocks.",
    )
    timeout_ms: Annotated[int, Field(ge=1, strict=True)] = Field(
        default=1000,
        description="The time in milliseconds after which the outcome of an operation is unknown.",
    )
    watchers: WatcherSpec = Field(
        default=WatcherSpec(),
        description="The clients that watch changes: their number, or their keys.",
    )
    start_ms: Milliseconds = Field(
        default=0.0, description="When the clients begin, in milliseconds."
    )
    stop_ms: Milliseconds | None = Field(
        default=None,
        description=(
            "When the clients stop, in milliseconds. Left out: one second before the end of the run, or a "
            "fifth of the run if that is shorter."
        ),
    )

    @field_validator("requests", "phases", mode="before")
    @classmethod
    def _list_of_requests(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("pin", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (
            tuple(value)
            if isinstance(value, list)
            else value
            if isinstance(value, tuple)
            else (value,)
        )

    @model_validator(mode="before")
    @classmethod
    def _named_requests(cls, value: object) -> object:
        if isinstance(value, dict) and isinstance(value.get("requests"), str):
            others = {key: item for key, item in value.items() if key != "requests"}
            return {"requests_function": value["requests"], **others}
        return value

    @model_validator(mode="before")
    @classmethod
    def _closed_by_think_time(cls, value: object) -> object:
        if isinstance(value, dict) and "think_ms" in value:
            return {"mode": "closed", **value}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> WorkloadSpec:
        ends = [phase.until_ms for phase in self.phases if phase.until_ms is not None]
        open_ended = [phase.until_ms is None for phase in self.phases[:-1]]
        if any(open_ended) or any(a >= b for a, b in pairwise(ends)):
            raise ValueError("phases: each but the last needs until_ms, and these must grow")
        for phase in self.phases:
            reads = self.read_fraction if phase.read_fraction is None else phase.read_fraction
            cas = self.cas_fraction if phase.cas_fraction is None else phase.cas_fraction
            if reads + cas > 1:
                raise ValueError(
                    f"phases: read_fraction ({reads}) and cas_fraction ({cas}) together exceed 1"
                )
        if self.pin and self.move_every_ms is not None:
            raise ValueError("pin and move_every_ms contradict each other; leave one out")
        if self.requests and self.requests_function is not None:
            raise ValueError(
                "requests and requests_function both say what clients ask; leave one out"
            )
        if self.program is not None and (self.requests or self.requests_function):
            raise ValueError("program and requests both say what clients ask; leave one out")
        if self.program_faults is not None:
            self._check_program_faults(self.program_faults)
        if self.kind != "registers":
            self._check_collections()
        if self.read_fraction + self.cas_fraction > 1:
            raise ValueError(
                f"read_fraction ({self.read_fraction}) and cas_fraction ({self.cas_fraction}) "
                "together exceed 1"
            )
        if self.think_ms is not None and self.mode == "open":
            raise ValueError("think_ms belongs to the closed loop; leave out `mode: open`")
        return self

    def _check_program_faults(self, faults: ProgramFaultsSpec) -> None:
        if self.requests or self.requests_function:
            raise ValueError(
                "program_faults are faults of client programs, and requests run none; leave one out"
            )
        if faults.until_ms is not None and faults.until_ms <= self.start_ms:
            raise ValueError(
                f"program_faults: until_ms ({faults.until_ms:g}) is not after start_ms ({self.start_ms:g}), so no "
                "fault would begin"
            )

    def _check_collections(self) -> None:
        for name in ("sessions", "requests", "requests_function", "program", "program_faults"):
            if getattr(self, name):
                raise ValueError(
                    f"kind: {self.kind} and {name} are two kinds of load; leave one out"
                )
        given: list[WorkloadSpec | PhaseSpec] = [self, *self.phases]
        if any("cas_fraction" in part.model_fields_set and part.cas_fraction for part in given):
            raise ValueError(
                f"cas_fraction belongs to registers, not to kind: {self.kind}; leave it out"
            )

    @property
    def think(self) -> Distribution:
        return self.think_ms if self.think_ms is not None else fixed(10)
