"""The expectations of a scenario. Each key asserts one thing; `qcore.sim.verdict.expectations` judges them."""

from __future__ import annotations

import re
from difflib import get_close_matches
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
    "model",
    "set_elements",
    "append_order",
    "invariant",
    "always",
    "check",
    "stale_read",
    "acknowledged_write_lost",
    "answer",
    "watches",
    "node_failed",
    "client_program",
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
    """The expectations of a scenario.

    Every scenario expects `safe`, unless it expects a `violation`, or any violation with `safe: false`.
    """

    safe: Flag | None = Field(
        default=None,
        description=(
            "No invariant was violated, the history is linearizable and no stale read is too old; expected by "
            "default. `false`: some violation was caught."
        ),
    )
    linearizable: Flag | None = Field(
        default=None,
        description=(
            "The checker reached a decision, and the history is linearizable. (For `safe`, no decision within "
            "the budget is no violation.)"
        ),
    )
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
    violation: tuple[str, ...] | None = Field(
        default=None,
        description="This violation was caught, or each of a list, or `any`; for runs with a safeguard off.",
    )
    converges: Flag | None = Field(
        default=None,
        description=(
            "At the end all members run and have applied the same index, with the same state hash. A machine "
            "that cannot compute a hash is not equal to any other. Ticks that a leader appends by itself for "
            "sessions do not count, because the last one may not have reached every node."
        ),
    )
    acknowledged_writes_present: Flag | None = Field(
        default=None, description="No acknowledged write is [lost](#what-the-words-mean)."
    )

    first_leader_within_ms: Milliseconds | None = Field(
        default=None, description="The longest allowed time from the start to the first leader."
    )
    new_leader_within_ms: Milliseconds | None = Field(
        default=None,
        description=(
            "The longest allowed time in which some node could reach a quorum and no leader did. The first "
            "election does not count, unless it was the only one. It fails if no node reaches a quorum at the "
            "end."
        ),
    )
    old_leader_steps_down_within_ms: Milliseconds | None = Field(
        default=None,
        description=(
            "The longest allowed time in which a running node led without a quorum, or while another led in a "
            "higher term."
        ),
    )
    leader_changes: Count | None = Field(
        default=None, description="The number of leaders after the first."
    )
    max_leader_changes: Number | None = Field(
        default=None, description="The most leaders after the first."
    )
    same_leader: Flag | None = Field(
        default=None, description="There was no leader after the first."
    )
    leader_at_end: Flag | None = Field(
        default=None, description="Exactly one leader reaches a quorum at the end."
    )

    elections: Count | None = Field(
        default=None, description="The number of terms in which some node was a candidate."
    )
    max_elections: Number | None = Field(default=None, description="The most such terms.")
    no_election_after_first: Flag | None = Field(
        default=None, description="There was no election after the first leader."
    )
    elections_after_heal: Count | None = Field(
        default=None,
        description="The number of elections after the last repair (or end by `for_ms`).",
    )
    term_growth: Count | None = Field(
        default=None, description="The highest term minus that of the first leader."
    )
    max_term_growth: Number | None = Field(
        default=None, description="The most by which the term may grow."
    )

    writes_succeed_after_heal: Flag | None = Field(
        default=None, description="Some write that began after the last repair was acknowledged."
    )
    recovers_within_ms: Milliseconds | None = Field(
        default=None,
        description=(
            "The longest allowed time from the last repair to the first acknowledgement of a write that began "
            "after it."
        ),
    )
    live_within_ms: Milliseconds | None = Field(
        default=None,
        description="This long after the last repair there is a leader, and of each kind of operation that clients "
        "began since then, one was acknowledged. At the end of the run all members run and are equal.",
    )
    every_write_succeeds: Flag | None = Field(
        default=None, description="All writes were acknowledged."
    )
    min_ok_writes: Number | None = Field(
        default=None, description="At least this many writes were acknowledged."
    )
    min_ok_reads: Number | None = Field(
        default=None, description="At least this many reads were acknowledged."
    )
    unavailable_at_most_ms: Milliseconds | None = Field(
        default=None,
        description="The longest allowed time between two acknowledged writes while clients were writing.",
    )
    availability: AvailabilitySpec | None = Field(
        None,
        description="Lower bounds of the shares of requests and of time that went well.",
    )
    max_unavailable_windows: Number | None = Field(
        None,
        description="At most this many windows of unavailability (see `availability`); the metrics list them.",
    )
    messages_per_operation: Ratio | None = Field(
        None,
        description='Messages between nodes for each request that was answered with success, for example "<= 12".',
    )
    no_commits_between: tuple[Range, ...] | None = Field(
        default=None,
        description=(
            "The highest commit index of all nodes did not grow in this range of times, `[2000, 5000]`, or in "
            "each of a list of ranges."
        ),
    )
    commits_in_minority: Count | None = Field(
        default=None,
        description="The number of entries that were [committed in a minority](#what-the-words-mean).",
    )
    truncated_entries: Count | None = Field(
        default=None,
        description="The number of entries removed from the ends of logs, on all nodes.",
    )
    unsynced_writes_lost: Count | None = Field(
        default=None, description="The number of writes that crashes and power losses destroyed."
    )
    unsynced_writes_survived: Count | None = Field(
        default=None,
        description="The number of writes that survived a power loss although they were not synced.",
    )
    stopped_by_disk: Count | None = Field(
        default=None,
        description="How often a node stopped because a write or sync failed (`disk_error`).",
    )
    starts_refused: Count | None = Field(
        default=None,
        description="How often a node refused to start, because its disk was damaged or could not be read.",
    )
    sessions_expired: Count | None = Field(
        default=None, description="The number of sessions that a client found expired."
    )
    exactly_once: Flag | None = Field(
        default=None,
        description=(
            "With sessions: no two acknowledged increments gave a register the same value, and the final value "
            "of each register is their number. (It may be larger only by increments of unknown outcome.)"
        ),
    )
    final_rules: Rules | None = Field(
        default=None, description="Every running member applies entries by these rules at the end."
    )
    final_voters: tuple[Annotated[int, Field(ge=1, strict=True)], ...] | None = Field(
        default=None,
        description=(
            "Every running member has these voters in its effective configuration at the end, and it is not "
            "joint."
        ),
    )
    snapshots_installed: Count | None = Field(
        default=None, description="The number of snapshots from leaders that followers installed."
    )
    watchers_complete: Flag | None = Field(
        default=None,
        description=(
            "At the end each watcher has a position and has seen every change after it; at least one change "
            "came."
        ),
    )
    notices: Count | None = Field(
        default=None, description="The number of changes that all watchers together saw."
    )
    watches_resumed: Count | None = Field(
        default=None, description="The number of watches that began after an earlier position."
    )
    watches_compacted: Count | None = Field(
        default=None, description="The number of answers `WatchCompacted` that watchers received."
    )

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
                near = get_close_matches(str(key), cls.model_fields, n=1)
                hint = f": did you mean {near[0]}? There" if near else "; there"
                raise ValueError(
                    f"{key}: unknown expectation{hint} are {', '.join(cls.model_fields)}"
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
