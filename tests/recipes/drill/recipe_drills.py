"""The drill of each recipe: its client program, what judges the records, and what must go on after the faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Final

from tests.recipes.chaos_runs import CHAOS, QUIET_FROM_S
from tests.recipes.checks.barrier_check import barrier_violations
from tests.recipes.checks.config_check import config_violations
from tests.recipes.checks.counter_check import counter_violations
from tests.recipes.checks.election_check import election_violations
from tests.recipes.checks.exclusion_check import exclusion_violations
from tests.recipes.checks.queue_check import drain_violations, queue_violations
from tests.recipes.checks.registry_check import registry_violations
from tests.recipes.checks.run_once_chaos import RUN_ONCE_CHAOS
from tests.recipes.checks.run_once_check import run_once_violations
from tests.recipes.checks.rw_lock_check import rw_lock_violations
from tests.recipes.checks.semaphore_check import semaphore_violations
from tests.recipes.drill.drill import DrillResult
from tests.recipes.drill.drill_records import Checker, progress_failures


@dataclass(frozen=True)
class RecipeDrill:
    """One drill.

    Attributes:
        program: the client program, as `MODULE:FUNCTION`.
        checkers: judge its records.
        progress: how many records of which kind there are after the faults, at least.
        chaos: the scenario of its runs in the simulator.
        chaos_checkers: judge the records of such a run, too.
    """

    program: str
    checkers: tuple[Checker, ...]
    progress: dict[str, int] = field(default_factory=dict)
    chaos: str = CHAOS
    chaos_checkers: tuple[Checker, ...] = ()

    def violations(self, result: DrillResult) -> list[str]:
        """What is wrong with the records."""
        found = [text for check in self.checkers for text in check(result.records)]
        for what, count in self.progress.items():
            found += progress_failures(result.records, what, count)
        return found


RECIPE_DRILLS: Final[dict[str, RecipeDrill]] = {
    "lock": RecipeDrill(
        "tests.recipes.programs.holding.lock_program:lock_program",
        (exclusion_violations,),
        {"acquired": 3},
    ),
    "election": RecipeDrill(
        "tests.recipes.programs.holding.election_program:election_program",
        (election_violations,),
        {"acquired": 3, "observed": 6},
    ),
    "rwlock": RecipeDrill(
        "tests.recipes.programs.holding.rw_lock_program:rw_lock_program",
        (rw_lock_violations,),
        {"acquired": 3},
    ),
    "semaphore": RecipeDrill(
        "tests.recipes.programs.holding.semaphore_program:semaphore_program",
        (semaphore_violations,),
        {"acquired": 3},
    ),
    "barrier": RecipeDrill(
        "tests.recipes.programs.barrier_program:barrier_program",
        (barrier_violations,),
        {"passed": 6},
    ),
    "counter": RecipeDrill(
        "tests.recipes.programs.counter_program:counter_program",
        (counter_violations,),
        {"added": 6, "read": 3},
    ),
    "config": RecipeDrill(
        "tests.recipes.programs.config_program:config_program",
        (config_violations,),
        {"synced": 3, "change": 10},
    ),
    "registry": RecipeDrill(
        "tests.recipes.programs.registry_program:registry_program",
        (registry_violations,),
        {"alive": 5, "synced": 3, "took": 1},
    ),
    "queue": RecipeDrill(
        "tests.recipes.programs.queue_program:queue_program",
        (queue_violations,),
        {"acknowledged": 10},
        chaos_checkers=(partial(drain_violations, before_s=QUIET_FROM_S),),
    ),
    "run_once": RecipeDrill(
        "tests.recipes.programs.run_once_program:run_once_program",
        (partial(run_once_violations, retry=True),),
        {"done": 3},
        RUN_ONCE_CHAOS,
    ),
}
