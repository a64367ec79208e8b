"""`qcore sim explore`: states per second, and what it takes to find each planted fault.

    python -m benchmarks.exploration.bench_explore [--states N] [--seeds N] [--runs N]

The first table explores the presets with all safeguards on: it must find nothing. The second plants one fault after
the other (`benchmarks.potency`), and searches for it exhaustively and with PCT. Times are CPU times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Final

from benchmarks.potency.planted_faults import PLANTED_FAULTS
from qcore.cli.output import Row
from qcore.sim.exploration import Bounds, Exploration, explore
from qcore.sim.exploration.bounds import PRESETS
from qcore.sim.exploration.fault_bounds import FAULT_BOUNDS, find_with_pct, median_runs

#: Bounds within which each fault of the potency table shows, if it can show in a cluster whose clocks stand still.
BOUNDS: Final[Mapping[str, Bounds]] = {
    **{name: bounds.with_changes(without=(name,)) for name, bounds in FAULT_BOUNDS.items()},
    "half_is_a_quorum": Bounds(timeouts=2),
    "counts_votes_of_older_terms": Bounds(timeouts=3),
    "commits_beyond_what_agrees": Bounds(timeouts=2, writes=1, heartbeats=1, start="leader"),
    "keeps_conflicting_entries": Bounds(timeouts=2, writes=1, start="leader"),
    "truncates_what_agrees": Bounds(timeouts=1, writes=2, duplicates=1, start="leader"),
    "does_not_compare_the_previous_entry": Bounds(timeouts=2, writes=1, start="leader"),
    "needs_only_the_new_voters": PRESETS["membership"],
    "confirms_reads_by_old_responses": Bounds(timeouts=1, reads=1, start="leader"),
    "reads_before_the_first_commit_of_its_term": Bounds(
        timeouts=1, writes=1, reads=1, start="leader"
    ),
    "sends_without_waiting_for_the_disk": Bounds(timeouts=2, crashes=1, sync="free"),
}


def presets(states: int) -> list[Row]:
    """The presets with nothing planted, with the reduction and without it."""
    rows: list[Row] = []
    for name in PRESETS:
        for reduction in (True, False):
            found = explore(name, max_states=states, reduction=reduction, clock=time.process_time)
            assert found.ok, found.text()
            rows.append(
                {
                    "preset": name,
                    "reduction": "on" if reduction else "off",
                    "states": found.states,
                    "all within": "any depth" if found.complete else f"{found.depth} steps",
                    "pruned": f"{found.pruned_share:.0%}",
                    "core steps": found.core_steps,
                    "states/s": round(found.states_per_second),
                }
            )
    return rows


def faults(seeds: int, runs: int) -> list[Row]:
    """Each fault: the exhaustive search, and the runs that PCT needs."""
    rows: list[Row] = []
    for name, bounds in BOUNDS.items():
        with PLANTED_FAULTS[name].planted():
            found = explore(bounds, max_states=1_000_000, clock=time.process_time)
            began = time.process_time()
            counts = find_with_pct(bounds, range(seeds), runs=runs)
            spent = time.process_time() - began
        middle = median_runs(counts, runs)
        rows.append(
            {
                "fault": name,
                "steps": _steps(found),
                "states": found.states,
                "seconds": f"{found.seconds:.2f}",
                "PCT found": f"{sum(count is not None for count in counts)} of {seeds}",
                "PCT median runs": f"{middle:.0f}" if middle <= runs else f"> {runs}",
                "PCT seconds": f"{spent / seeds:.2f}",
            }
        )
        print_rows(rows[-1:], header=len(rows) == 1)
    return rows


def _steps(found: Exploration) -> str:
    return "not found" if found.counterexample is None else str(len(found.counterexample.steps))


def print_rows(rows: list[Row], *, header: bool = True) -> None:
    """Print rows as lines of a Markdown table."""
    if header:
        print("| " + " | ".join(rows[0]) + " |")
        print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="States per second, and the search for faults.")
    parser.add_argument("--states", type=int, default=200_000, help="states of each preset")
    parser.add_argument("--seeds", type=int, default=5, help="PCT searches for each fault")
    parser.add_argument("--runs", type=int, default=20_000, help="most runs of a PCT search")
    options = parser.parse_args()
    print_rows(presets(options.states))
    print()
    faults(options.seeds, options.runs)


if __name__ == "__main__":
    main()
