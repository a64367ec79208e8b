"""The chaos under which `run_once_program` runs, and all that must be true of its records."""

from __future__ import annotations

from typing import Final

from tests.recipes.chaos_runs import chaos_records, chaos_scenario
from tests.recipes.checks.run_once_check import run_once_violations, slot_violations
from tests.recipes.programs.run_once_program import EVERY_S, run_once_program_of

#: The last pauses end so late. From then on, few slots may be missed, until `_STOP_S`.
_QUIET_FROM_S: Final = 17.5
_STOP_S: Final = 22.0
#: As the common one, but longer; with more lost messages, because the program sends few; and with more and longer
#: pauses, because a run is short.
RUN_ONCE_CHAOS: Final = chaos_scenario(
    loss=0.02, every_ms=(300, 1500), pause_ms=(800, 3500), stop_ms=22_000, until_ms=25_000
)


def run_once_chaos(seed: int, *, retry: bool, catch_up: int = 0) -> tuple[list[str], list[str]]:
    """Run the program under chaos. Returns what the simulator found wrong, and what the checks found."""
    program = run_once_program_of(retry=retry, catch_up=catch_up)
    records, wrong = chaos_records(program, seed, RUN_ONCE_CHAOS)
    return wrong, [
        *run_once_violations(records, retry=retry),
        *slot_violations(records, EVERY_S, _QUIET_FROM_S, _STOP_S, least=0.3),
    ]
