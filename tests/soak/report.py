"""The report of a soak, in Markdown."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Sequence

from qcore.release import __version__
from tests.soak.faults import Scene
from tests.soak.resources import Resources
from tests.soak.rounds import Totals


def spread(values: Sequence[float]) -> str:
    """Cells of a table: median, 99th percentile and maximum, seconds."""
    if not values:
        return "none | |"
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"{statistics.median(ordered):.2f} | {p99:.2f} | {ordered[-1]:.2f}"


def write_report(
    options: argparse.Namespace,
    scene: Scene,
    totals: Totals,
    resources: Resources,
    elapsed_s: float,
) -> str:
    """The report of a run in which every check passed."""
    links = "cut and slowed down in network namespaces" if scene.network.has_faults else "not cut"
    disk = "no" if scene.cluster.small_disk is None else f"that of node {scene.cluster.small_disk}"
    unknown = totals.outcomes["unknown"]
    refused = sum(n for name, n in totals.outcomes.items() if name.startswith("refused"))
    return "\n".join(
        [
            "# Report of a soak",
            "",
            f"{time.strftime('%Y-%m-%d')}, qcore {__version__}, Python {platform.python_version()}, "
            f"{os.cpu_count()} processors. "
            f"{options.nodes} nodes with TLS, seed {options.seed}, {elapsed_s / 60:.1f} minutes, "
            f"{totals.rounds} rounds.",
            "",
            f"Load average of the machine over one minute: median {statistics.median(resources.machine_load):.1f}, "
            f"most {max(resources.machine_load):.1f}. Links: {links}. A small disk: {disk}.",
            "",
            "Every check passed after every round: each history is linearizable, each increment of a session counted "
            "once, watchers saw each change once and in order, the states of all members have one digest, no term "
            "had two leaders, and no node logged a traceback. "
            f"At the end, the {len(totals.kept)} values that the rounds had left were all still there.",
            "",
            "| what | number |",
            "|---|---|",
            f"| acknowledged reads and writes | {totals.outcomes['ok']} |",
            f"| writes of unknown outcome | {unknown} |",
            f"| rejected requests | {refused} |",
            f"| increments in sessions | {totals.increments} |",
            f"| changes that watchers saw | {totals.changes_seen} |",
            f"| watches that learned of compaction | {totals.watches_compacted} |",
            f"| faults | {totals.faults.total()} |",
            *(f"| - `{name}` | {number} |" for name, number in sorted(totals.faults.items())),
            "",
            "| time, s | median | p99 | most |",
            "|---|---|---|---|",
            f"| from `kill -9` of a leader to the response to the next write | {spread(totals.outages_s)} |",
            f"| longest time of a round without an acknowledged write | {spread(totals.pauses_s)} |",
            f"| restart until the node listens | {spread(scene.cluster.restarts_s)} |",
            f"| from the end of the faults until all checks passed | {spread(totals.converge_s)} |",
            "",
            *resources.table(),
            "",
        ]
    )
