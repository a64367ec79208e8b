"""`python -m tests.gateway.patroni`: Patroni and PostgreSQL on qcore, or on etcd, under faults, with checks.

    python -m tests.gateway.patroni --backend qcore --rounds 3
    python -m tests.gateway.patroni --backend etcd --kinds kill_primary,pause_primary

Exit code 1 means that a check found something; the directory with the logs is kept then.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from tests.gateway.patroni.patroni_checks import failover_times, overlaps, violations
from tests.gateway.patroni.patroni_drill import drill_directory, run_patroni_drill
from tests.gateway.patroni.patroni_faults import FAULTS
from tests.gateway.patroni.patroni_records import PatroniRecords


def summary(records: PatroniRecords) -> str:
    """What happened, as text."""
    outcomes = Counter(write.outcome.value for write in records.writes)
    together = sum(overlap.ended_s - overlap.began_s for overlap in overlaps(records))
    lines = [
        "longest time without an acknowledged row, by fault:",
        *(
            f"  {fault.kind:30} {fault.target:9} {gap_s:6.1f} s of {fault.healed_s - fault.began_s:6.1f} s,"
            f" primary {fault.primary_before} -> {fault.primary_after}"
            for fault, gap_s in failover_times(records)
        ),
        f"writes: {dict(outcomes)}; sights: {len(records.sights)}",
        f"two instances out of recovery: {together:.1f} s, in {len(overlaps(records))} times",
        f"rows: { {name: len(rows) for name, rows in sorted(records.rows.items())} }",
        f"members: {records.members}",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Parse the options and run. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        prog="python -m tests.gateway.patroni",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--backend", choices=("qcore", "etcd"), default="qcore")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--kinds", default=",".join(FAULTS), help="the faults of a round")
    parser.add_argument("--directory", type=Path, help="an empty directory, which is kept")
    options = parser.parse_args()
    directory = options.directory or drill_directory()
    began_s = time.monotonic()
    records = run_patroni_drill(
        options.backend, directory, rounds=options.rounds, kinds=options.kinds.split(",")
    )
    found = violations(records)
    sys.stdout.write(f"{len(records.faults)} faults in {time.monotonic() - began_s:.0f} s\n")
    sys.stdout.write(summary(records))
    sys.stdout.write("".join(f"violation: {text}\n" for text in found))
    sys.stdout.write(f"{len(found)} violations\n")
    if found or options.directory is not None:
        sys.stdout.write(f"files: {directory}\n")
    else:
        shutil.rmtree(directory)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
