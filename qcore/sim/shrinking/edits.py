"""`Edit`: one change that makes a scenario smaller or simpler, and the failing run to which edits apply."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from qcore.sim.shrinking.candidate_values import Values, timeline_of
from qcore.sim.shrinking.trial_run import Outcome, Trial

#: A run of up to so many messages, and how many seeds to try with each edit of it.
_SEEDS_BY_MESSAGES: Final = ((700, 6), (2500, 3))

#: Changes values in place. False: it does not apply to them, or changes nothing.
Change = Callable[[Values], bool]


@dataclass(slots=True, frozen=True)
class Edit:
    """One change of a scenario.

    Attributes:
        text: what it removes or makes simpler, for the report.
        change: changes the values in place.
        seeds: other seeds to try, if the run with the current seed does not fail.
        no_more_work: whether it is refused if the run sends more messages, or asks more operations.
        only_seed: the one seed to try, in place of the current one.
        group: of the edits of one group, only the first that is accepted applies; empty: it is in no group.
    """

    text: str
    change: Change
    seeds: tuple[int, ...] = ()
    group: str = ""
    no_more_work: bool = False
    only_seed: int | None = None

    def applied(self, values: Values) -> Values | None:
        """The changed values; None if the edit does not apply."""
        changed = copy.deepcopy(values)
        return changed if self.change(changed) else None


@dataclass(slots=True, frozen=True)
class Case:
    """The smallest failing run until now.

    Attributes:
        trial: its values and seed.
        outcome: how it fails.
        is_violation: whether the cause is a violation. Otherwise it is an expectation that does not hold, and what
            repairs the cluster must stay: without it the expectation would fail for another reason.
    """

    trial: Trial
    outcome: Outcome
    is_violation: bool

    @property
    def values(self) -> Values:
        return self.trial.values

    @property
    def more_seeds(self) -> tuple[int, ...]:
        """Other seeds to try with each edit: many for a run that costs little."""
        messages = self.outcome.size.messages if self.outcome.size is not None else 0
        for most, number in _SEEDS_BY_MESSAGES:
            if messages <= most:
                return tuple(range(1, number + 1))
        return ()

    @property
    def items(self) -> list[Values]:
        """The items of the timeline, in order."""
        return timeline_of(self.trial.values)


def without_items(values: Values, items: list[Values]) -> bool:
    """Remove these items from the timeline; each equal item counts once. Return whether any was there."""
    timeline = timeline_of(values)
    before = len(timeline)
    for item in items:
        if item in timeline:
            timeline.remove(item)
    return len(timeline) < before


def replaced_item(values: Values, old: Values, new: Values) -> bool:
    """Replace an item of the timeline. Return whether it was there, and the new one differs."""
    timeline = timeline_of(values)
    if old not in timeline or old == new:
        return False
    timeline[timeline.index(old)] = new
    return True
