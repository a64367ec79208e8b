"""Measures potency: `python -m benchmarks.potency`.

A check that never fails proves nothing. So this program plants faults (see `planted_faults`), lets each way of
generating runs look for each of them, and prints two numbers for each pair: the share of seeds that find the fault, and
the median number of runs until it is found. In the last line nothing is planted, and nothing may be found.

A pair that finds nothing in `--seeds` runs goes on to `--most` runs.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

from benchmarks.potency.generators import GENERATORS, run_one
from benchmarks.potency.planted_faults import NO_FAULT, PLANTED_FAULTS

#: The first seed: not one of those on which the scenarios were tuned.
_FIRST_SEED = 10_001
_BATCH = 10


@dataclass(slots=True)
class Cell:
    """One generator and one fault."""

    runs: int = 0
    found: int = 0
    by_check: Counter[str] = field(default_factory=Counter)
    has_scenario: bool = True

    @property
    def median_runs(self) -> int | None:
        """The median number of runs until the fault is found, at this share; None if it was never found."""
        if not self.found:
            return None
        share = self.found / self.runs
        return 1 if share >= 0.5 else math.ceil(math.log(0.5) / math.log(1 - share))

    @property
    def text(self) -> str:
        """The cell of the table."""
        if not self.has_scenario:
            return ""
        if self.median_runs is None:
            return f"0 of {self.runs}"
        return f"{self.found} of {self.runs}, {self.median_runs}"


def measure(pool: ProcessPoolExecutor, generator: str, fault: str, seeds: int, most: int) -> Cell:
    """Run one pair."""
    cell = Cell()
    while cell.runs < (seeds if cell.found or fault == NO_FAULT.name else most):
        first = _FIRST_SEED + cell.runs
        tasks = [(generator, fault, seed) for seed in range(first, first + _BATCH)]
        for _, _, _, found in pool.map(run_one, tasks):
            if found is None:
                cell.has_scenario = False
                return cell
            cell.runs += 1
            if found:
                cell.found += 1
                cell.by_check[found] += 1
    return cell


def main(arguments: Sequence[str] | None = None) -> int:
    names = [*PLANTED_FAULTS, NO_FAULT.name]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="runs of a pair that finds its fault")
    parser.add_argument("--most", type=int, default=200, help="runs of a pair that does not")
    parser.add_argument("--only", nargs="*", choices=names, default=names, metavar="FAULT")
    parser.add_argument("--generators", nargs="*", choices=GENERATORS, default=[*GENERATORS])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    given = parser.parse_args(arguments)
    if given.output == "table":
        print(
            f"| planted | {' | '.join(given.generators)} |\n|---|{'---|' * len(given.generators)}"
        )
    found_by_none: list[str] = []
    with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
        for name in given.only:
            cells = {
                generator: measure(pool, generator, name, given.seeds, given.most)
                for generator in given.generators
            }
            if not any(cell.found for cell in cells.values()):
                found_by_none.append(name)
            if given.output == "json":
                row = {
                    generator: {
                        "runs": cell.runs,
                        "found": cell.found,
                        "median_runs": cell.median_runs,
                        "by": dict(cell.by_check),
                    }
                    for generator, cell in cells.items()
                }
                print(json.dumps({"planted": name, **row}), flush=True)
            else:
                texts = " | ".join(cell.text for cell in cells.values())
                print(f"| `{name}` | {texts} |", flush=True)
    missed = [name for name in found_by_none if name != NO_FAULT.name]
    if missed:
        print(f"found by no generator: {', '.join(missed)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
