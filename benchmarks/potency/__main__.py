"""Measures potency: `python -m benchmarks.potency`.

A check that never fails proves nothing. So this program plants faults (see `planted_faults`), lets each way of
generating runs (see `generators`) look for each of them, and prints two numbers for each pair: the share of seeds that
find the fault, and the median number of runs until it is found. In the last line nothing is planted, and nothing may be
found. The column `explore` is one exhaustive search each, see `small_worlds`.

A pair that finds nothing in `--seeds` runs goes on to `--most` runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from benchmarks.potency.campaign import FIRST_SEED, Cell, Limits, rows
from benchmarks.potency.generators import GENERATORS
from benchmarks.potency.planted_faults import NO_FAULT, PLANTED_FAULTS
from benchmarks.potency.small_worlds import Searched

#: The column of the exhaustive searches.
_EXPLORE = "explore"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table. The exit code is 1 if no generator found some fault, or one found something where nothing is."""
    names = [*PLANTED_FAULTS, NO_FAULT.name]
    columns = [*GENERATORS, _EXPLORE]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.potency", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="runs of a pair that finds its fault")
    parser.add_argument("--enough", type=int, default=20, help="end a pair after so many findings")
    parser.add_argument("--most", type=int, default=200, help="runs of a pair that does not")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--only", nargs="*", choices=names, default=names, metavar="FAULT")
    parser.add_argument("--generators", nargs="*", choices=columns, default=columns)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    given = parser.parse_args(arguments)
    limits = Limits(given.seeds, given.enough, given.most, given.first_seed, given.jobs)
    chosen = [name for name in GENERATORS if name in given.generators]
    explore = _EXPLORE in given.generators
    if given.output == "table":
        titles = [*chosen, *([_EXPLORE] if explore else [])]
        print(f"| planted | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}", flush=True)
    missed: list[str] = []
    wrong = False
    with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
        for name, cells, searched in rows(given.only, chosen, limits, pool, explore=explore):
            is_found = any(cell.found for cell in cells.values()) or bool(
                searched and searched.found
            )
            if name == NO_FAULT.name:
                wrong = is_found
            elif not is_found:
                missed.append(name)
            if given.output == "json":
                print(json.dumps(_as_json(name, cells, searched)), flush=True)
            else:
                texts = [cell.text for cell in cells.values()]
                texts += [_searched_text(searched)] if explore else []
                print(f"| `{name}` | {' | '.join(texts)} |", flush=True)
    if missed:
        print(f"found by no generator: {', '.join(missed)}", file=sys.stderr)
    if wrong:
        print("something was found where nothing is planted", file=sys.stderr)
    return 1 if missed or wrong else 0


def _searched_text(searched: Searched | None) -> str:
    if searched is None:
        return ""
    if not searched.found:
        return f"not in {searched.states:,} states"
    return f"{searched.steps} steps, {searched.states:,} states"


def _as_json(name: str, cells: dict[str, Cell], searched: Searched | None) -> dict[str, object]:
    row: dict[str, object] = {"planted": name}
    for generator, cell in cells.items():
        if cell.offered:
            row[generator] = {
                "runs": cell.runs,
                "found": cell.found,
                "median_runs": cell.median_runs,
                "by": dict(cell.by_check),
            }
    if searched is not None:
        row[_EXPLORE] = {
            "found": searched.found,
            "steps": searched.steps,
            "states": searched.states,
        }
    return row


if __name__ == "__main__":
    sys.exit(main())
