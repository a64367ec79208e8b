"""The main figures of a run as a table and a picture, in out/bench.

    python -m benchmarks.record.results [--keep]

`python -m benchmarks core sim cluster peers` measures them, and does this at its end.
"""

from __future__ import annotations

import argparse
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.record.history import HISTORY, Run, append, read
from benchmarks.record.picture import draw
from benchmarks.record.trees import CheckError, git, is_clean
from benchmarks.support.python_build import CHECKOUT, python_build
from benchmarks.support.results import load

RESULTS = CHECKOUT / "out" / "bench"
#: What a peer is compared with.
_KINDS = {
    "PySyncObj": "cluster",
    "etcd's raft library": "core",
    "simloop": "sim",
    "simloom": "sim",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table.

    Attributes:
        what: the figure.
        unit: of the values; more is better.
        qcore: its value.
        peer: what it was measured beside, in turns; empty if nothing.
        other: the peer's value.
        ratio: the median of the ratios of the rounds, qcore's by the peer's.
    """

    what: str
    unit: str
    qcore: float
    peer: str = ""
    other: float = 0.0
    ratio: float = 0.0


def lines_of(folder: Path) -> list[Line]:
    """All lines that the benchmarks left there."""
    return [
        *_core(load(folder, "core")),
        *_sim(load(folder, "sim")),
        *_cluster(load(folder, "cluster")),
        *_peers(load(folder, "peers")),
    ]


def _core(found: Any) -> list[Line]:
    return [
        Line(f"core: {name}", "operations/s", row["operations_per_s"])
        for name, row in (found or {}).items()
    ]


def _sim(found: Any) -> list[Line]:
    return [
        Line(
            f"sim: {row['nodes']:.0f} nodes, {row['writes_per_s']:.0f} writes/s",
            "simulated s per s",
            row["simulated_s_per_s"],
        )
        for row in found or []
    ]


def _cluster(found: Any) -> list[Line]:
    rows: list[dict[str, Any]] = found or []
    ours = {row["case"]: row for row in rows if row["system"] == "qcore"}
    lines: list[Line] = []
    for case, row in ours.items():
        peers = [other for other in rows if other["case"] == case and other is not row]
        what, unit, value = f"cluster: {case}", "per s", row["per_s"]
        lines += [
            Line(what, unit, value, other["system"], other["per_s"], other["qcore_ratio"])
            for other in peers
        ] or [Line(what, unit, value)]
    return lines


def _peers(found: Any) -> list[Line]:
    return [
        Line(
            f"{_KINDS[row['peer']]}: {row['what']}",
            *(row[name] for name in ("unit", "qcore", "peer", "other", "ratio")),
        )
        for row in found or []
    ]


def table(lines: list[Line]) -> str:
    """The lines as Markdown."""
    rows = ["| | unit | qcore | beside | its figure | qcore ÷ it |", "|---|---|---|---|---|---|"]
    for line in lines:
        beside = f" {line.peer} | {line.other:,.0f} | {line.ratio:.2f} |" if line.peer else " | | |"
        rows.append(f"| {line.what} | {line.unit} | {line.qcore:,.0f} |{beside}")
    return "\n".join(rows)


def this_run(lines: list[Line], folder: Path) -> Run:
    """What the history keeps: qcore's figures, and the ratios."""
    # The first line of a figure counts: the benchmark that is about it comes before the comparisons with peers.
    figures = {line.what: round(line.qcore, 1) for line in reversed(lines)}
    figures |= {f"{line.what} ÷ {line.peer}": round(line.ratio, 3) for line in lines if line.peer}
    rows: Any = load(folder, "cluster") or []
    for row in rows:
        if row["system"] == "qcore":
            for name in ("p50_ms", "p99_ms"):
                figures[f"cluster: {row['case']}, {name}"] = row[name]
    try:
        commit = git(CHECKOUT, "rev-parse", "HEAD") + ("" if is_clean(CHECKOUT) else " and changes")
    except CheckError:
        commit = "unknown"
    build = python_build()
    return Run(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit,
        python=build.version,
        optimised=build.optimised,
        compiled=build.compiled,
        machine=f"{platform.machine()}, {os.cpu_count()} cores",
        load=round(os.getloadavg()[2], 1),
        figures=figures,
    )


def report(folder: Path = RESULTS, *, keep: bool = False) -> None:
    """Print the table, write it beside the picture, and keep the figures if asked to."""
    lines = lines_of(folder)
    if not lines:
        print("nothing was measured: python -m benchmarks core sim cluster peers")
        return
    text = table(lines)
    print(f"\n{text}\n")
    run = this_run(lines, folder)
    title = f"{python_build()}, commit {run.commit[:10]}"
    (folder / "results.md").write_text(f"{title}, {run.when}\n\n{text}\n")
    bars = [
        (f"{line.what}, beside {line.peer}", line.ratio, f"{line.qcore:,.0f} : {line.other:,.0f}")
        for line in lines
        if line.peer
    ]
    draw(folder / "results.png", title, bars, [*read(HISTORY), run])
    print(f"{folder / 'results.md'}, {folder / 'results.png'}")
    if keep:
        append(HISTORY, run)
        print(f"added to {HISTORY}")


def main() -> None:
    """Report what was measured last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", action="store_true", help="add the figures to the history")
    report(keep=parser.parse_args().keep)


if __name__ == "__main__":
    main()
