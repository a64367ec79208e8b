"""`python -m tests.recipes.drill`: client programs in worker processes on real nodes, under faults, with checkers.

    python -m tests.recipes.drill --recipe lock
    python -m tests.recipes.drill --recipe all --faults 100 --seed 1
    python -m tests.recipes.drill --program tests.recipes.programs.holding.lock_program:lock_program \
        --checker tests.recipes.checks.exclusion_check:exclusion_violations --progress acquired=3

Exit code 1 means that a checker found a violation, or that something else failed. The directory of such a drill, with
all its files, and with the records and the faults in the order of time in `timeline.txt`, is kept.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

from tests import forked_processes
from tests.recipes.drill.drill import KINDS, DrillResult, run_drill
from tests.recipes.drill.drill_records import NO_CLIENT, load_function
from tests.recipes.drill.recipe_drills import RECIPE_DRILLS, RecipeDrill

#: How many violations and failures are printed.
_SHOWN: Final = 20


def summary(name: str, result: DrillResult, violations: list[str]) -> str:
    """What happened, as text."""
    kinds = sorted(result.fault_counts().items())
    programs = [record for record in result.records if record.client != NO_CLIENT]
    whole = Counter(record.what for record in programs)
    last = Counter(record.what for record in programs if record.time_s >= result.healed_s > 0)
    lines = [
        f"{name}: {len(result.faults)} faults in {result.ended_s - result.began_s:.0f} s",
        *(f"  {kind:24} {count:6}" for kind, count in kinds),
        f"{len(programs)} records; in brackets those after the faults",
        *(f"  {what:24} {count:6} ({last[what]})" for what, count in sorted(whole.items())),
        f"{len(violations)} violations",
        *(f"  {text}" for text in violations[:_SHOWN]),
        f"{len(result.failures)} failures",
        *(f"  {text}" for text in result.failures[:_SHOWN]),
    ]
    if result.failures:
        for node_id, log in result.node_logs.items():
            lines.append(f"end of the log of node {node_id}:\n{log}")
    return "\n".join(lines) + "\n"


def run(name: str, drill: RecipeDrill, directory: Path, options: argparse.Namespace) -> bool:
    """Run a drill and print what happened. Returns whether nothing is wrong."""
    result = run_drill(
        drill.program,
        directory,
        workers=options.workers,
        nodes=options.nodes,
        faults=options.faults,
        seed=options.seed,
        settle_s=options.settle_s,
        kinds=options.kinds.split(","),
    )
    violations = drill.violations(result)
    sys.stdout.write(summary(name, result, violations))
    is_good = not violations and not result.failures
    if is_good and options.directory is None:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        (directory / "timeline.txt").write_text("\n".join(result.timeline()) + "\n")
        sys.stdout.write(f"files: {directory}\n")
    sys.stdout.flush()
    return is_good


def drills_of(options: argparse.Namespace) -> dict[str, RecipeDrill]:
    """The drills that the options name."""
    if options.program is not None:
        checkers = tuple(load_function(reference) for reference in options.checker)
        return {options.program: RecipeDrill(options.program, checkers, dict(options.progress))}
    if options.recipe == "all":
        return RECIPE_DRILLS
    return {name: RECIPE_DRILLS[name] for name in options.recipe.split(",")}


def main() -> int:
    """Parse the options and run. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        prog="python -m tests.recipes.drill",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    names = ", ".join(RECIPE_DRILLS)
    what.add_argument("--recipe", type=_recipes, help=f"some of {names}, with commas; or all")
    what.add_argument("--program", metavar="MODULE:FUNCTION", help="another client program")
    parser.add_argument(
        "--checker", action="append", default=[], metavar="MODULE:FUNCTION", help="of --program"
    )
    parser.add_argument(
        "--progress",
        type=_wanted,
        action="append",
        default=[],
        metavar="WHAT=COUNT",
        help="of --program: how many such records there are after the faults, at least",
    )
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--settle-s", type=float, default=5.0, help="without a fault at the end")
    parser.add_argument("--kinds", default=",".join(KINDS), help="only these faults, with commas")
    parser.add_argument("--directory", type=Path, help="an empty directory, which is kept")
    options = parser.parse_args()
    forked_processes.install()  # a node is soon back
    good = True
    for name, drill in drills_of(options).items():
        top = options.directory or Path(tempfile.mkdtemp(prefix="qcore-drill-"))
        directory = top if options.program else top / name
        good = run(name, drill, directory, options) and good
    return 0 if good else 1


def _recipes(text: str) -> str:
    """Read the option `--recipe`."""
    for name in text.split(","):
        if name != "all" and name not in RECIPE_DRILLS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(RECIPE_DRILLS)}")
    return text


def _wanted(text: str) -> tuple[str, int]:
    """Read the option `--progress`."""
    what, _, count = text.partition("=")
    return what, int(count)


if __name__ == "__main__":
    sys.exit(main())
