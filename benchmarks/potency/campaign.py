"""`Campaign`: runs each generator against each planted fault until it is found often enough."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from benchmarks.potency.generators import run_one
from benchmarks.potency.planted_faults import NO_FAULT, PLANTED_FAULTS
from benchmarks.potency.small_worlds import Searched, search_all

#: The first seed: not one of those on which scenarios and generators were tuned.
FIRST_SEED: Final = 10_001
_HALF: Final = 0.5

#: Makes calls, possibly in other processes, and gives the results in order.
Map = Callable[
    [Callable[[tuple[str, str, int]], str | None], Iterable[tuple[str, str, int]]],
    Iterable[str | None],
]


@dataclass(slots=True)
class Cell:
    """One generator and one fault.

    Attributes:
        runs: runs that were made.
        found: how many of them found the fault.
        by_check: which check found it first, and in how many runs.
        offered: False: this generator has no run for this fault.
    """

    runs: int = 0
    found: int = 0
    by_check: Counter[str] = field(default_factory=Counter)
    offered: bool = True

    @property
    def median_runs(self) -> int | None:
        """The median number of runs until the fault is found, at this share; None if it was never found."""
        if not self.found:
            return None
        share = self.found / self.runs
        return 1 if share >= _HALF else math.ceil(math.log(_HALF) / math.log(1 - share))

    @property
    def text(self) -> str:
        """The cell of the table."""
        if not self.offered:
            return ""
        if self.median_runs is None:
            return f"0 of {self.runs}"
        return f"{self.found} of {self.runs}, {self.median_runs}"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a pair of a generator and a fault is run.

    Attributes:
        seeds: runs of a pair that finds its fault.
        enough: a pair that has found its fault this often ends earlier.
        most: runs of a pair that does not find it, and of each generator with nothing planted.
        first_seed: the first seed; the others follow.
        batch: runs that are given to the processes at a time.
    """

    seeds: int = 20
    enough: int = 20
    most: int = 200
    first_seed: int = FIRST_SEED
    batch: int = 1


def measure(generator: str, fault: str, limits: Limits, call: Map = map) -> Cell:
    """Run one pair."""
    cell = Cell()
    while cell.found < limits.enough:
        last = limits.most if fault == NO_FAULT.name or not cell.found else limits.seeds
        first = limits.first_seed + cell.runs
        tasks = [
            (generator, fault, seed)
            for seed in range(first, first + min(limits.batch, last - cell.runs))
        ]
        if not tasks:
            break
        for found in call(run_one, tasks):
            if found is None:
                return Cell(offered=False)
            cell.runs += 1
            if found:
                cell.found += 1
                cell.by_check[found] += 1
    return cell


def explored(name: str) -> Searched | None:
    """The exhaustive search for one fault; None if a small cluster cannot show it. For a pool of processes."""
    fault = PLANTED_FAULTS.get(name, NO_FAULT)
    with fault.planted():
        return search_all(fault)


def rows(
    names: Iterable[str],
    generators: Iterable[str],
    limits: Limits,
    pool: ProcessPoolExecutor,
    *,
    explore: bool,
) -> Iterator[tuple[str, dict[str, Cell], Searched | None]]:
    """The rows of the table as they are measured: the fault, its cells, and the exhaustive search."""
    chosen = tuple(generators)
    for name in names:
        cells = {generator: measure(generator, name, limits, pool.map) for generator in chosen}
        yield name, cells, pool.submit(explored, name).result() if explore else None
