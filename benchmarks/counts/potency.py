"""Counts how often a scenario finds a planted fault: `python -m benchmarks.counts.potency`.

A scenario that passes proves little unless it fails when something is broken. This program runs one scenario many
times, each time with one safeguard of the core (`qcore.core.config.Safeguards`) switched off. It counts the seeds on
which a checker reports a violation, and names the checkers. In the last line all safeguards are on, so no checker may
report anything.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields

from qcore.core.config import Safeguards
from qcore.sim import Scenario, load_scenario, run_scenario

#: In the table: no safeguard is switched off.
NONE = "(all on)"


def without(scenario: Scenario, safeguard: str) -> Scenario:
    """The same scenario with one safeguard switched off, or none for `NONE`."""
    off = {} if safeguard == NONE else {safeguard: False}
    cluster = scenario.cluster.model_copy(
        update={"safeguards": {**scenario.cluster.safeguards, **off}}
    )
    return scenario.model_copy(update={"cluster": cluster})


def find(
    scenario: Scenario, safeguard: str, seeds: Sequence[int]
) -> tuple[list[int], Counter[str]]:
    """The seeds on which a violation was found, and how many of them each checker found."""
    broken = without(scenario, safeguard)
    found: list[int] = []
    by_check: Counter[str] = Counter()
    for seed in seeds:
        checks = {violation.check for violation in run_scenario(broken, seed).violations}
        if checks:
            found.append(seed)
            by_check.update(sorted(checks))
    return found, by_check


def main(arguments: Sequence[str] | None = None) -> int:
    names = [*(field.name for field in fields(Safeguards)), NONE]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", default="chaos", help="a file, or the name of a shipped one")
    parser.add_argument("--seeds", type=int, default=20, help="how many, from 1")
    parser.add_argument("--only", nargs="*", choices=names, default=names, metavar="SAFEGUARD")
    given = parser.parse_args(arguments)
    scenario = load_scenario(given.scenario)
    seeds = range(1, given.seeds + 1)
    print(f"| switched off | found on seeds | of {given.seeds} | by |\n|---|---|---|---|")
    for name in given.only:
        found, by_check = find(scenario, name, seeds)
        checks = ", ".join(f"{check} {count}" for check, count in by_check.most_common()) or "–"
        print(f"| `{name}` | {len(found)} | {given.seeds} | {checks} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
