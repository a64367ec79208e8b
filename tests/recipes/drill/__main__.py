"""`python -m tests.recipes.drill`: a drill of one client program, judged by its checkers.

    python -m tests.recipes.drill --program tests.recipes.programs.lock_program:lock_program \
        --checker tests.recipes.checks.exclusion_check:exclusion_violations --progress acquired=3 --faults 100

Exit code 1 means that a checker found a violation, or that something failed. The directory with all files, and with
the records and the faults in the order of time in `timeline.txt`, is kept then.
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
from tests.recipes.drill.drill_records import NO_CLIENT, Checker, load_function, progress_failures

#: How many violations and lines of a log are printed.
_SHOWN: Final = 20


def summary(result: DrillResult, violations: list[str]) -> str:
    """What happened, as text."""
    kinds = sorted(result.fault_counts().items())
    programs = [record for record in result.records if record.client != NO_CLIENT]
    whole = Counter(record.what for record in programs)
    last = Counter(record.what for record in programs if record.time_s >= result.healed_s > 0)
    lines = [
        f"{len(result.faults)} faults in {result.ended_s - result.began_s:.0f} s",
        *(f"  {kind:24} {count:6}" for kind, count in kinds),
        f"{len(programs)} records; in brackets those after the last fault",
        *(f"  {what:24} {count:6} ({last[what]})" for what, count in sorted(whole.items())),
        f"{len(violations)} violations",
        *(f"  {text}" for text in violations[:_SHOWN]),
        f"{len(result.failures)} failures",
        *(f"  {text}" for text in result.failures[:_SHOWN]),
    ]
    if result.failures:
        lines += [
            f"end of the log of node {node_id}:\n{log}" for node_id, log in result.node_logs.items()
        ]
    return "\n".join(lines) + "\n"


def _wanted(text: str) -> tuple[str, int]:
    """Read the option `--progress`."""
    what, _, count = text.partition("=")
    return what, int(count)


def main() -> int:
    """Parse the options and run. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.recipes.drill")
    parser.add_argument("--program", required=True, metavar="MODULE:FUNCTION")
    parser.add_argument("--checker", required=True, action="append", metavar="MODULE:FUNCTION")
    parser.add_argument(
        "--progress",
        type=_wanted,
        action="append",
        default=[],
        metavar="WHAT=COUNT",
        help="fail if there are fewer such records after the faults",
    )
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--settle-s", type=float, default=5.0, help="without a fault at the end")
    parser.add_argument(
        "--kinds", default=",".join(KINDS), help="only these faults, separated by commas"
    )
    parser.add_argument("--directory", type=Path, help="an empty directory, which is kept")
    options = parser.parse_args()
    checkers: list[Checker] = [load_function(reference) for reference in options.checker]
    forked_processes.install()  # a node is soon back
    directory = options.directory or Path(tempfile.mkdtemp(prefix="qcore-drill-"))
    result = run_drill(
        options.program,
        directory,
        workers=options.workers,
        nodes=options.nodes,
        faults=options.faults,
        seed=options.seed,
        settle_s=options.settle_s,
        kinds=options.kinds.split(","),
    )
    violations = [text for check in checkers for text in check(result.records)]
    for what, count in options.progress:
        violations += progress_failures(result.records, what, count)
    sys.stdout.write(summary(result, violations))
    is_bad = bool(violations or result.failures)
    if is_bad or options.directory is not None:
        (directory / "timeline.txt").write_text("\n".join(result.timeline()) + "\n")
        sys.stdout.write(f"files: {directory}\n")
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main())
