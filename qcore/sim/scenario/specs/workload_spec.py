"""The workload of a scenario: its clients and their operations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qcore.replica.sessions.session_table import LIFETIME_MAX_MS, LIFETIME_MIN_MS
from qcore.sim.scenario.distributions import Distribution, LatencySpec, fixed
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
    requests: tuple[RequestSpec, ...] = Field(
        default=(),
        description=(
            "For a user-defined state machine: `[{write: text, weight: 3}, {read: text}]`, drawn by weight. A name is "
            "short for `requests_function`."
        ),
    )
    requests_function: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] | None = Field(
        default=None,
        description=(
            "A function `function(rng)` in the file of the user-defined state machine, which returns "
            '`("write", command)` or `("read", query)`. Left out, the function `requests` there is used.'
        ),
    )
    program: Annotated[str, Field(pattern=r"^([^:]+:)?[A-Za-z_]\w*$")] | None = Field(
        default=None,
        description=(
            "A client program that every client runs instead of drawing operations: `file.py:function`, or the name "
            "of a function in the file of the user-defined state machine. Left out, a function called `client` there "
            "is used if the file has no `requests`."
        ),
    )
    timeout_ms: Annotated[int, Field(ge=1, strict=True)] = 1000
    watchers: WatcherSpec = WatcherSpec()
    start_ms: Milliseconds = 0.0
    stop_ms: Milliseconds | None = None

    @field_validator("requests", mode="before")
    @classmethod
    def _list_of_requests(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

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
        if self.requests and self.requests_function is not None:
            raise ValueError(
                "requests and requests_function both say what clients ask; leave one out"
            )
        if self.program is not None and (self.requests or self.requests_function):
            raise ValueError("program and requests both say what clients ask; leave one out")
        if self.read_fraction + self.cas_fraction > 1:
            raise ValueError(
                f"read_fraction ({self.read_fraction}) and cas_fraction ({self.cas_fraction}) "
                "together exceed 1"
            )
        if self.think_ms is not None and self.mode == "open":
            raise ValueError("think_ms belongs to the closed loop; leave out `mode: open`")
        return self

    @property
    def think(self) -> Distribution:
        return self.think_ms if self.think_ms is not None else fixed(10)
