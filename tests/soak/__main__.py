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
from collections.abc import Callable, Iterator
from pathlib import Path

from qcore.errors import QcoreError
from qcore.release import __version__
from tests.checkout import CHECKOUT
from tests.soak.faults import Scene, kill_leader, possible_faults
from tests.soak.networks import Network, best_network
from tests.soak.report import write_report
from tests.soak.resources import Resources
from tests.soak.rounds import Totals, run_round
from tests.soak.soak_cluster import SoakCluster


def decks(scene: Scene) -> Iterator[Callable[[Scene], None]]:
    """Every fault in a random order, again and again."""
    while True:
        deck = possible_faults(scene)
        scene.rng.shuffle(deck)
        yield from deck


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
    began = time.monotonic()
    with (
        network,
        SoakCluster(directory, options.nodes, network, environment) as cluster,
    ):
        scene = Scene(cluster, network, rng, files)
        deck = decks(scene)
        kills: int = options.leader_kills
        seconds = float(options.minutes) * 60

        def next_fault() -> Callable[[Scene], None]:
            return kill_leader if kills else next(deck)

        def is_over() -> bool:
            if kills:
                return totals.faults[kill_leader.__name__] >= kills
            return time.monotonic() - began >= seconds

        while not is_over():
            run_round(scene, totals, next_fault, options.round_s, say)
            resources.sample(cluster.cluster.active())
            say(f"round {totals.rounds}: {totals.outcomes['ok']} operations, all checks passed")
        elapsed_s = time.monotonic() - began
        text = write_report(options, scene, totals, resources, elapsed_s)
    return totals, text


def main() -> int:
    """Parse the options and run. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--leader-kills", type=int, default=0, help="only kill leaders, this often")
    parser.add_argument("--nodes", type=int, default=5, choices=(3, 4, 5))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round-s", type=float, default=45, help="the length of a round, seconds")
    parser.add_argument("--report", type=Path, help="write the report into this file")
    parser.add_argument("--unsafe", action="store_true", help="plant a fault that must be found")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="qcore-soak-"))
    network = best_network(options.nodes + 1)
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
    shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
