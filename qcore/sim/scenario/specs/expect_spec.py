"""The expectations of a scenario. Each key asserts one thing; `qcore.sim.verdict.expectations` judges them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from qcore.sim.invariants import CHECKS
from qcore.sim.scenario.specs.node_settings import Rules
from qcore.sim.scenario.values import (
    ConsistencyLevel,
    Count,
    Flag,
    Milliseconds,
    Probability,
    Ratio,
    Spec,
)

Number = Annotated[int, Field(ge=0, strict=True)]
Range = tuple[Milliseconds, Milliseconds]

_OTHER_NAMES = {
    "linearizability": "linearizable",
    "violations": "violation",
    "first_leader_within_ms": "first_leader_within_ms",
    "availability_gap_at_most_ms": "unavailable_at_most_ms",
    "max_unavailable_ms": "unavailable_at_most_ms",
    "no_acknowledged_write_lost": "acknowledged_writes_present",
    "acknowledged_writes_survive": "acknowledged_writes_present",
    "every_write_commits": "every_write_succeeds",
    "all_writes_succeed": "every_write_succeeds",
    "no_writes_between": "no_commits_between",
    "min_writes_ok": "min_ok_writes",
}


#: The values of `violation`: the invariants, the checks at the end of a run, and `any`.
VIOLATIONS = (
    *CHECKS,
    "linearizability",
    "sequential_consistency",
    "serializability",
    "invariant",
    "always",
    "check",
    "stale_read",
    "acknowledged_write_lost",
    "watches",
    "node_failed",
    "determinism",
    "machine_contract",
    "any",
)


def _plain(name: str) -> str:
    """Normalise a name: `StateMachineSafety` and `state-machine safety` become `state_machine_safety`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s-]+", "_", words).lower()


class AvailabilitySpec(Spec):
    """How available the cluster was for its clients, as shares between 0 and 1."""

    requests_at_least: Probability | None = Field(
        None, description="At least this share of all requests was answered with success."
    )
    time_at_least: Probability | None = Field(
        None,
        description="At least this share of the time in which writes were asked was outside of windows of "
        "unavailability.",
    )
    ignore_up_to_ms: Milliseconds = Field(
        100.0,
        description="A window of unavailability begins when a write waits and ends with the next acknowledged write; "
        "windows of up to so many milliseconds do not count.",
    )


class ExpectSpec(Spec):
    """The expectations of a scenario; docs/reference/scenarios.md explains each.

    Every scenario expects `safe`, unless it expects a `violation`, or any violation with `safe: false`.
    """

    safe: Flag | None = None
    linearizable: Flag | None = None
    consistency: ConsistencyLevel | None = Field(
        None,
        description="What the order of requests that explains all answers must respect. `linearizable`: the order of "
        "their times. `sequential`: the order of each client's requests. `serializable`: nothing. The two weaker "
        "levels also judge stale reads.",
    )
    may_do_nothing: Flag | None = Field(
        None,
        description="`true`: the run may pass although no request was answered with success (`work_done`).",
    )
    violation: tuple[str, ...] | None = None
    converges: Flag | None = None
    acknowledged_writes_present: Flag | None = None

    first_leader_within_ms: Milliseconds | None = None
    new_leader_within_ms: Milliseconds | None = None
    old_leader_steps_down_within_ms: Milliseconds | None = None
    leader_changes: Count | None = None
    max_leader_changes: Number | None = None
    same_leader: Flag | None = None
    leader_at_end: Flag | None = None

    elections: Count | None = None
    max_elections: Number | None = None
    no_election_after_first: Flag | None = None
    elections_after_heal: Count | None = None
    term_growth: Count | None = None
    max_term_growth: Number | None = None

    writes_succeed_after_heal: Flag | None = None
    recovers_within_ms: Milliseconds | None = None
    live_within_ms: Milliseconds | None = Field(
        default=None,
        description="This long after the last repair there is a leader, and of each kind of operation that clients "
        "began since then, one was acknowledged. At the end of the run all members run and are equal.",
    )
    every_write_succeeds: Flag | None = None
    min_ok_writes: Number | None = None
    min_ok_reads: Number | None = None
    unavailable_at_most_ms: Milliseconds | None = None
    availability: AvailabilitySpec | None = Field(
        None,
        description="Lower bounds of the shares of requests and of time; see `AvailabilitySpec`.",
    )
    max_unavailable_windows: Number | None = Field(
        None,
        description="At most this many windows of unavailability (see `availability`); the metrics list them.",
    )
    messages_per_operation: Ratio | None = Field(
        None,
        description='Messages between nodes for each request that was answered with success, for example "<= 12".',
    )
    no_commits_between: tuple[Range, ...] | None = None
    commits_in_minority: Count | None = None
    truncated_entries: Count | None = None
    unsynced_writes_lost: Count | None = None
    unsynced_writes_survived: Count | None = None
    stopped_by_disk: Count | None = Field(
        default=None,
        description="How often a node stopped because a write or sync failed (`disk_error`).",
    )
    starts_refused: Count | None = Field(
        default=None,
        description="How often a node refused to start, because its disk was damaged or could not be read.",
    )
    sessions_expired: Count | None = None
    exactly_once: Flag | None = None
    final_rules: Rules | None = None
    final_voters: tuple[Annotated[int, Field(ge=1, strict=True)], ...] | None = None
    snapshots_installed: Count | None = None
    watchers_complete: Flag | None = None
    notices: Count | None = None
    watches_resumed: Count | None = None
    watches_compacted: Count | None = None

    @model_validator(mode="before")
    @classmethod
    def _other_names(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        renamed: dict[object, object] = {}
        for key, item in value.items():
            name = _OTHER_NAMES.get(key, key) if isinstance(key, str) else key
            if name in renamed:
                raise ValueError(f"{key} repeats another key under a different name")
            renamed[name] = item
        for key in renamed:
            if key not in cls.model_fields:
                raise ValueError(
                    f"unknown expectation {key!r}; there are {', '.join(cls.model_fields)}"
                )
        return renamed

    @field_validator("violation", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if isinstance(value, str):
            return (_plain(value),)
        if isinstance(value, list):
            return tuple(_plain(item) if isinstance(item, str) else item for item in value)
        return value

    @field_validator("violation")
    @classmethod
    def _known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value == ():
            raise ValueError(
                "an empty list names no violation; name those that must be caught, or leave it out"
            )
        for name in value or ():
            if name not in VIOLATIONS:
                raise ValueError(f"no check is called {name!r}; there are {', '.join(VIOLATIONS)}")
        return value

    @field_validator("final_voters", mode="before")
    @classmethod
    def _voters(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("final_voters")
    @classmethod
    def _distinct(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is None:
            return None
        if not value or len(set(value)) != len(value):
            raise ValueError(f"{list(value)}: give at least one id, and each id once")
        return tuple(sorted(value))

    @field_validator("no_commits_between", mode="before")
    @classmethod
    def _ranges(cls, value: object) -> object:
        if isinstance(value, list) and len(value) == 2 and not isinstance(value[0], list):
            value = [value]
        if isinstance(value, list):
            return tuple(tuple(item) if isinstance(item, list) else item for item in value)
        return value

    @field_validator("no_commits_between")
    @classmethod
    def _ordered(cls, value: tuple[Range, ...] | None) -> tuple[Range, ...] | None:
        if value == ():
            raise ValueError("an empty list names no time; write [from, to], or leave it out")
        for low, high in value or ():
            if high <= low:
                raise ValueError(f"[{low}, {high}] ends before it begins")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> ExpectSpec:
        if self.violation is not None and self.safe:
            raise ValueError("`safe: true` and `violation` contradict each other; leave one out")
        if self.linearizable is not None and self.level != "linearizable":
            raise ValueError(
                f"`linearizable` and `consistency: {self.level}` ask for two levels; leave one out"
            )
        return self

    @property
    def level(self) -> ConsistencyLevel:
        """The level at which the history is judged."""
        return self.consistency or "linearizable"

    @property
    def must_be_safe(self) -> bool:
        return self.violation is None and self.safe is not False
