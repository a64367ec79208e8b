"""Tries edits one after the other, and keeps those with which the run still fails for the same cause."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from qcore.sim.shrinking.candidate_values import Values
from qcore.sim.shrinking.edits import Case, Edit
from qcore.sim.shrinking.trial_run import Outcome, Trial

#: Runs trials, in any order, and returns their outcomes in the given order.
RunAll = Callable[[Sequence[Trial]], Sequence[Outcome]]


class ShrinkSearch:
    """The search for a smaller failing run.

    The result is the same however many trials run at the same time: of the trials that fail in the right way, the
    first one in the order of the edits counts, and the later ones are forgotten.

    Args:
        case: the run from which it starts.
        run_all: runs trials.
        budget: the most runs.
        jobs: how many trials run at the same time.
        out_of_time: whether to stop now.
        progress: is called after each run and each accepted edit, with the search.

    Attributes:
        case: the smallest failing run until now.
        runs: how many runs were needed.
        removed: what was removed, in order.
    """

    def __init__(
        self,
        case: Case,
        run_all: RunAll,
        budget: int,
        jobs: int = 1,
        out_of_time: Callable[[], bool] = lambda: False,
        progress: Callable[[ShrinkSearch], None] = lambda _search: None,
    ) -> None:
        self.case = case
        self.runs = 0
        self.removed: list[str] = []
        self._key = case.outcome.key
        # Another expectation that fails shows that the run is broken in another way.
        self._failed = {*case.outcome.failed}
        self._run_all = run_all
        self._budget = budget
        self._jobs = jobs
        self._out_of_time = out_of_time
        self._progress = progress
        self._known: set[str] = {_identity(case.trial)}

    @property
    def is_over(self) -> bool:
        """Whether the budget is used."""
        return self.runs >= self._budget or self._out_of_time()

    def attempt(self, edits: Sequence[Edit], *, over_budget: bool = False) -> bool:
        """Try each edit on the run that the edits before it left. Return whether any was accepted.

        Args:
            edits: what to try.
            over_budget: try them although the budget is used.
        """
        accepted, place = False, 0
        edits = list(edits)
        while place < len(edits) and (over_budget or not self.is_over):
            tries = list(islice(self._tries(edits, place), self._jobs))
            if not tries:
                break
            outcomes = self._run_all([trial for _, trial in tries])
            place = self._next_place(edits, tries)
            for (position, trial), outcome in zip(tries, outcomes, strict=True):
                self.runs += outcome.is_valid
                if self._is_smaller(edits[position], outcome):
                    edit = edits[position]
                    self._accept(edit, trial, outcome)
                    accepted, place = True, position + 1
                    if edit.group:
                        later = [one for one in edits[place:] if one.group != edit.group]
                        edits = [*edits[:place], *later]
                    break
                self._known.add(_identity(trial))
                self._progress(self)
        return accepted

    def _is_smaller(self, edit: Edit, outcome: Outcome) -> bool:
        """Whether a run fails for the same cause, and the edit may have its effect."""
        first = self.case.outcome
        if outcome.key != self._key or outcome.program_failure != first.program_failure:
            return False
        if not self.case.is_violation and not {*outcome.failed} <= self._failed:
            return False
        before, after = self.case.outcome.size, outcome.size
        if not edit.no_more_work or before is None or after is None:
            return True
        return after.messages <= before.messages and after.operations <= before.operations

    def _tries(self, edits: Sequence[Edit], place: int) -> Iterator[tuple[int, Trial]]:
        """What is to be run from this edit on, on the current case, without what was run before."""
        for position in range(place, len(edits)):
            edit = edits[position]
            values = edit.applied(self.case.values)
            if values is None:
                continue
            first = self.case.trial.seed if edit.only_seed is None else edit.only_seed
            for seed in dict.fromkeys((first, *edit.seeds)):
                trial = Trial(values, seed)
                if _identity(trial) not in self._known:
                    yield position, trial

    def _next_place(self, edits: Sequence[Edit], tries: Sequence[tuple[int, Trial]]) -> int:
        """The edit with which to continue if none of these tries is accepted: what is known is not tried again."""
        last = tries[-1][0]
        return last if len(tries) == self._jobs else len(edits)

    def _accept(self, edit: Edit, trial: Trial, outcome: Outcome) -> None:
        other = f", with seed {trial.seed}" if trial.seed != self.case.trial.seed else ""
        self.removed.append(f"{edit.text}{other}")
        self.case = replace(self.case, trial=trial, outcome=outcome)
        self._known.add(_identity(trial))
        self._progress(self)


def _identity(trial: Trial) -> str:
    values: Values = trial.values
    return f"{trial.seed} {json.dumps(values)}"
