"""`python -m tests.soak`: real nodes under load and faults for a long time, with every check, and a report.

    python -m tests.soak --minutes 30 --nodes 5 --report benchmarks/soak.md
    python -m tests.soak --leader-kills 1000

Exit code 1 means that a check failed. The directory with all files of the nodes is kept then.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from qcore.errors import QcoreError
from qcore.release import __version__
from tests import forked_processes
from tests.checkout import CHECKOUT
from tests.soak.faults import ALL_FAULTS, Fault, Scene, kill_leader, possible_faults
from tests.soak.networks import Loopback, Network, best_network
from tests.soak.report import write_report
from tests.soak.resources import Resources
from tests.soak.rounds import Totals, run_round
from tests.soak.soak_cluster import SoakCluster

#: How much shorter the waits are while leaders are killed one after the other.
_KILL_PACE: Final = 0.2
#: Fewer clients then, so that the nodes restart sooner.
_KILL_CLIENTS: Final = 3


def decks(scene: Scene, names: Collection[str]) -> Iterator[Fault]:
    """Every fault in a random order, again and again; only those with these names, if there are any."""
    while True:
        deck = possible_faults(scene, names)
        scene.rng.shuffle(deck)
        yield from deck


def fault_names(text: str) -> tuple[str, ...]:
    """Read the option `--faults`."""
    known = [fault.__name__ for fault in ALL_FAULTS]
    names = tuple(text.split(","))
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
    return names


def say(text: str) -> None:
    """Print a line with the time."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def soak(options: argparse.Namespace, directory: Path, network: Network) -> tuple[Totals, str]:
    """Run the rounds. Returns what they did, and the report."""
    rng = random.Random(options.seed)
    unsafe = {"QCORE_SOAK_UNSAFE": "1", "PYTHONPATH": str(CHECKOUT)}
    environment = unsafe if options.unsafe else {}
    resources, totals = Resources(), Totals()
    files = directory / "files"
    files.mkdir()
    kills: int = options.leader_kills
    began = time.monotonic()
    with (
        network,
        SoakCluster(
            directory,
            options.nodes,
            network,
            environment,
            has_faulty_disks=not kills or options.unsafe,
        ) as cluster,
    ):
        scene = Scene(cluster, network, rng, files)
        if kills:
            scene = replace(scene, pace=_KILL_PACE, clients=_KILL_CLIENTS)
        deck = decks(scene, options.faults)
        seconds = float(options.minutes) * 60

        def next_fault() -> Fault:
            return kill_leader if kills else next(deck)

        def is_over() -> bool:
            if kills:
                return totals.faults[kill_leader.__name__] >= kills
            return time.monotonic() - began >= seconds

        while not is_over():
            run_round(scene, totals, next_fault, options.round_s, say)
            resources.sample(cluster.cluster.active())
            done = f"{totals.faults.total()} faults, {totals.outcomes['ok']} operations"
            say(f"round {totals.rounds}: {done}, all checks passed")
        totals.kept.check(cluster)
        elapsed_s = time.monotonic() - began
        text = write_report(options, scene, totals, resources, elapsed_s)
    return totals, text


def main() -> int:
    """Parse the options and run. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--leader-kills", type=int, default=0, help="only kill leaders, this often")
    parser.add_argument("--nodes", type=int, default=5, choices=(3, 4, 5))
    parser.add_argument(
        "--faults", type=fault_names, default=(), help="only these, separated by commas"
    )
    parser.add_argument("--directory", type=Path, help="an empty directory, which is kept")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round-s", type=float, default=45, help="the length of a round, seconds")
    parser.add_argument("--report", type=Path, help="write the report into this file")
    parser.add_argument("--unsafe", action="store_true", help="plant a fault that must be found")
    options = parser.parse_args()
    directory = options.directory or Path(tempfile.mkdtemp(prefix="qcore-soak-"))
    directory.mkdir(exist_ok=True)
    if options.leader_kills:
        forked_processes.install()  # a node is soon back
    network = Loopback() if options.leader_kills else best_network(options.nodes + 1)
    say(f"qcore {__version__}, Python {platform.python_version()}, {os.cpu_count()} processors")
    say(f"{type(network).__name__}; files of the nodes: {directory}")
    try:
        _, text = soak(options, directory, network)
    except (AssertionError, QcoreError) as error:
        say(f"FAILED: {error}")
        return 1
    if options.report is not None:
        options.report.write_text(text)
    sys.stdout.write(text)
    if options.directory is None:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
