"""Many seeds of chaos for the recipes, in several processes.

    python -m tests.recipes.campaign --recipe lock --seeds 1..1000
    python -m tests.recipes.campaign --recipe all --seeds 1..50 --jobs 2

Exit code 1 means that a check found something. Each finding names its seed, which gives the same run again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from multiprocessing import get_context

from qcore.client.programs.program_context import ClientProgram
from tests.recipes.chaos_runs import chaos_records, progress_violations
from tests.recipes.drill.recipe_drills import RECIPE_DRILLS


def findings(recipe: str, seed: int) -> tuple[int, list[str], dict[str, int]]:
    """One run: its seed, what is wrong with it, and how many records of each kind it has."""
    drill = RECIPE_DRILLS[recipe]
    module, _, function = drill.program.partition(":")
    program: ClientProgram = getattr(import_module(module), function)
    records, wrong = chaos_records(program, seed, drill.chaos)
    checkers = (*drill.checkers, *drill.chaos_checkers)
    wrong += [text for check in checkers for text in check(records)]
    # The simulated network loses an answer now and then, which TCP would not, and a client waits for it up to 8 s.
    for what in drill.progress:
        wrong += progress_violations(records, what, 1)
    return seed, wrong, dict(Counter(record.what for record in records))


def run_campaign(recipe: str, seeds: Sequence[int], jobs: int) -> Iterator[str]:
    """Run all seeds, in so many processes, or with 0 in this one. Yields a line for each finding, and a summary."""
    began, total, bad = time.monotonic(), Counter[str](), 0
    for seed, wrong, kinds in _runs(partial(findings, recipe), seeds, jobs):
        total.update(kinds)
        bad += bool(wrong)
        for text in wrong[:3]:
            yield f"{recipe} seed {seed}: {text}"
    what = ", ".join(f"{count} {kind}" for kind, count in sorted(total.items()))
    yield f"{recipe}: {len(seeds)} seeds, {bad} bad, {time.monotonic() - began:.0f} s; {what}"


def _runs(
    run: Callable[[int], tuple[int, list[str], dict[str, int]]], seeds: Sequence[int], jobs: int
) -> Iterator[tuple[int, list[str], dict[str, int]]]:
    if not jobs:
        yield from map(run, seeds)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run, seeds, chunksize=4)


def main() -> int:
    """Parse the options and run. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.recipes.campaign")
    parser.add_argument("--recipe", default="all", choices=["all", *RECIPE_DRILLS])
    parser.add_argument("--seeds", default="1..100", help="FIRST..LAST")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    first, _, last = options.seeds.partition("..")
    seeds = range(int(first), int(last or first) + 1)
    bad = False
    for recipe in RECIPE_DRILLS if options.recipe == "all" else [options.recipe]:
        for line in run_campaign(recipe, seeds, options.jobs):
            bad |= " bad, " not in line
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
