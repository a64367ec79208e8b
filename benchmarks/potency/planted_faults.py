"""The faults that the potency table plants: safeguards of the core, switched off one by one, and bugs in the code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Final, Literal

import pytest

from benchmarks.potency import safety_bugs, state_bugs
from qcore.core.config import Safeguards
from qcore.sim import Scenario

#: What the clients of a run must do so that a fault can show: the chaos scenario with that workload.
Theme = Literal["registers", "sessions", "watchers", "membership"]


def _nothing(_patch: pytest.MonkeyPatch) -> None:
    """Plant no bug in the code."""


@dataclass(frozen=True, slots=True)
class PlantedFault:
    """One fault.

    Attributes:
        name: its name in the table.
        summary: what is wrong.
        theme: the workload that it needs.
        safeguard: the safeguard that is switched off; empty if it is a bug in the code.
        plant: changes the code.
    """

    name: str
    summary: str
    theme: Theme = "registers"
    safeguard: str = ""
    plant: Callable[[pytest.MonkeyPatch], None] = _nothing

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Within the block, the code has the bug."""
        with pytest.MonkeyPatch.context() as patch:
            self.plant(patch)
            yield

    def scenario(self, scenario: Scenario) -> Scenario:
        """The scenario with the safeguard switched off."""
        if not self.safeguard:
            return scenario
        return scenario.with_(cluster={"safeguards": {self.safeguard: False}})


def _bug(plant: Callable[[pytest.MonkeyPatch], None], theme: Theme = "registers") -> PlantedFault:
    summary = (plant.__doc__ or "").strip().removesuffix(".")
    return PlantedFault(plant.__name__, summary, theme, plant=plant)


def _safeguard(name: str) -> PlantedFault:
    return PlantedFault(name, f"the safeguard {name} is off", safeguard=name)


_BUGS: Final = (
    _bug(safety_bugs.half_is_a_quorum),
    _bug(safety_bugs.counts_votes_of_older_terms),
    _bug(safety_bugs.confirms_reads_by_one_response),
    _bug(safety_bugs.confirms_reads_by_old_responses),
    _bug(safety_bugs.reads_before_the_first_commit_of_its_term),
    _bug(safety_bugs.forgets_its_promise_to_a_lease),
    _bug(safety_bugs.counts_a_lease_from_the_response),
    _bug(safety_bugs.commits_beyond_what_agrees),
    _bug(safety_bugs.keeps_conflicting_entries),
    _bug(safety_bugs.truncates_what_agrees),
    _bug(safety_bugs.does_not_compare_the_previous_entry),
    _bug(safety_bugs.acknowledges_a_snapshot_too_soon),
    _bug(safety_bugs.needs_only_the_new_voters, "membership"),
    _bug(safety_bugs.keeps_a_truncated_configuration, "membership"),
    _bug(state_bugs.skips_an_entry_behind_a_snapshot),
    _bug(state_bugs.serves_reads_before_it_has_applied),
    _bug(state_bugs.forwards_a_write_twice, "sessions"),
    _bug(state_bugs.sends_without_waiting_for_the_disk),
    _bug(state_bugs.loses_the_end_of_the_log_at_a_start),
    _bug(state_bugs.takes_the_whole_log_for_committed),
    _bug(state_bugs.applies_a_retried_command_again, "sessions"),
    _bug(state_bugs.leaves_replies_out_of_snapshots, "sessions"),
    _bug(state_bugs.snapshot_loses_replies, "sessions"),
    _bug(state_bugs.never_expires_sessions_after_a_restore, "sessions"),
    _bug(state_bugs.misses_a_change_for_watches, "watchers"),
    _bug(state_bugs.resumes_watches_one_entry_too_late, "watchers"),
)

#: All faults, by name.
PLANTED_FAULTS: Final = {
    fault.name: fault
    for fault in (*(_safeguard(field.name) for field in fields(Safeguards)), *_BUGS)
}

#: No fault: every generator must find nothing.
NO_FAULT: Final = PlantedFault("(none)", "nothing is planted")
