"""Compares this checkout with a version before, in turns in one run: exit code 1 if a figure became worse by over 15 %.

    python -m benchmarks.record.check [REF] [--new REF] [--only PART ...] [--rounds 5] [--build COMMAND]
        [--python PROGRAM]

`make bench-check` does this; REF is a commit, by default the last tag, or the commit before; HEAD if there are changes
that are not committed. Both versions are checked out into folders of out/bench/check, and run with one interpreter.
If this checkout is compiled, or with `--build`, both are compiled there; if only one can be, both run as plain Python.
Parts: core, sim, codec, cluster. A figure that became worse is measured twice more, and counts only if it is worse each
time.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.cluster.systems import QcoreSystem, measure
from benchmarks.record.judgement import Pairs, describe, judge, merged
from benchmarks.record.probes import PROBES
from benchmarks.record.trees import (
    CheckError,
    build,
    git,
    make_tools,
    probe,
    snapshot,
    version_before,
    worktree,
)
from benchmarks.support.python_build import CHECKOUT, busy, python_build

PARTS = (*PROBES, "cluster")
COMPILE = "QCORE_COMPILE=1 {python} setup.py --quiet build_ext --inplace"
HOME = CHECKOUT / "out" / "bench" / "check"
#: The loads on a cluster: name -> operation, and requests in flight.
LOADS = {
    "writes, 1 in flight": ("write", 1),
    "writes, 64 in flight": ("write", 64),
    "reads, 64 in flight": ("read", 64),
}


class Comparison:
    """Two checkouts, of which parts can be measured.

    Args:
        old, new: where they are.
        rounds: how often both are measured, in turns.
        seconds: of each load on a cluster.
        program: the Python that runs them.
        tools: see `make_tools`.
    """

    def __init__(
        self, old: Path, new: Path, rounds: int, seconds: float, program: str, tools: Path
    ) -> None:
        self._trees = (old, new)
        self._rounds = rounds
        self._seconds = seconds
        self._program = program
        self._tools = tools

    def measure(self, names: Collection[str]) -> Pairs:
        """The figures of these parts, from both checkouts in turns."""
        pairs: Pairs = {}
        for name in names:
            print(f"measuring {name} ...", flush=True)
            pairs |= self._cluster() if name == "cluster" else self._probe(name)
        return pairs

    def _probe(self, name: str) -> Pairs:
        rounds: list[tuple[dict[str, float], dict[str, float]]] = []
        for number in range(self._rounds):
            found: dict[Path, dict[str, float]] = {}
            for tree in self._order(number):
                found[tree] = probe(name, tree, self._program, self._tools)
            rounds.append((found[self._trees[0]], found[self._trees[1]]))
        return merged(rounds)

    def _cluster(self) -> Pairs:
        pairs: Pairs = {}
        with ExitStack() as stack:
            systems = {
                tree: QcoreSystem(stack, program=self._program, tree=tree) for tree in self._trees
            }
            for title, (operation, width) in LOADS.items():
                for number in range(self._rounds):
                    found = {
                        tree: measure(systems[tree], operation, width, self._seconds)
                        for tree in self._order(number)
                    }
                    old, new = (found[tree] for tree in self._trees)
                    if old.errors or new.errors:
                        raise CheckError(f"requests failed: {old.errors} before, {new.errors} now")
                    pairs.setdefault(f"cluster: {title}, per second", []).append(
                        (old.per_s, new.per_s)
                    )
                    pairs.setdefault(f"cluster: {title}, per CPU second", []).append(
                        (1e6 / sum(old.processes_us), 1e6 / sum(new.processes_us))
                    )
        return pairs

    def _order(self, number: int) -> Sequence[Path]:
        """Every second round begins with the other one, so that a machine that slows down harms neither."""
        return self._trees if number % 2 == 0 else self._trees[::-1]


def builds(old: Path, new: Path, program: str, command: str | None) -> None:
    """Compile both if asked to, and see to it that both are the same build."""
    if command is not None:
        for tree in (old, new):
            print(f"compiling {tree.name} ...", flush=True)
            try:
                build(tree, command, program)
            except CheckError as error:
                print(error)
        if python_build(program, old).compiled != python_build(program, new).compiled:
            print("only one of both can be compiled, so both run as plain Python")
            os.environ["QCORE_PURE"] = "1"
    kinds = [python_build(program, tree) for tree in (old, new)]
    if kinds[0].compiled != kinds[1].compiled:
        raise CheckError(f"the builds differ: before {kinds[0]}, now {kinds[1]}")
    print(kinds[1])


def run(options: argparse.Namespace) -> bool:
    """Compare. Whether nothing became worse."""
    reference: str = options.reference or version_before(CHECKOUT)
    old_commit = git(CHECKOUT, "rev-parse", f"{reference}^{{commit}}")
    named = options.new and git(CHECKOUT, "rev-parse", f"{options.new}^{{commit}}")
    new_commit = named or snapshot(CHECKOUT)
    print(
        f"{options.new or 'this checkout'} ({new_commit[:10]}) against {reference} ({old_commit[:10]})"
    )
    command: str | None = options.build
    if command is None and python_build(options.python).compiled:
        command = COMPILE
    if warning := busy():
        print(warning)
    with (
        worktree(CHECKOUT, old_commit, HOME / "old") as old,
        worktree(CHECKOUT, new_commit, HOME / "new") as new,
    ):
        builds(old, new, options.python, command)
        comparison = Comparison(
            old, new, options.rounds, options.seconds, options.python, make_tools(HOME / "tools")
        )
        verdicts = judge(comparison.measure, options.only, options.limit)
    print(describe(verdicts, options.limit))
    return not any(one.worse for one in verdicts)


def main() -> None:
    """Exit code 0: nothing became worse; 1: something did; 2: the versions cannot be compared."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reference", nargs="?", metavar="REF")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each load on a cluster")
    parser.add_argument("--limit", type=float, default=0.15, metavar="SHARE")
    parser.add_argument("--python", default=sys.executable, metavar="PROGRAM")
    parser.add_argument("--new", metavar="REF", help="compare this one instead of this checkout")
    parser.add_argument(
        "--build",
        metavar="COMMAND",
        help="compiles a checkout in place; {python} stands for the Python. If this checkout is compiled, it is "
        "what `make compile` does",
    )
    try:
        sys.exit(0 if run(parser.parse_args()) else 1)
    except CheckError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
