"""How often general chaos finds a planted fault: `python benchmarks/potency.py`.

A scenario that passes says little unless it fails when something is broken. This runs one scenario with each
safeguard of the core switched off in turn (`qcore.core.config.Safeguards`), with nothing else changed, and counts the
seeds on which the checkers notice, and which of them did. The last line has all safeguards on: there, nothing may be
found.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields

from qcore.core.config import Safeguards
from qcore.sim import Scenario, load_scenario, run_scenario

#: What the table says where nothing is switched off.
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
