"""Compact traces against JSON lines: their size, the time to write them, and the time of what users do with them."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from qcore.analysis import LEADERSHIP_KINDS, load, read_tables, save_run_figure
from qcore.sim import Scenario, parse_scenario, run_scenario
from qcore.trace import read_trace


def scenario(seconds: int) -> Scenario:
    """Five nodes with 500 operations a second."""
    return parse_scenario(
        f"""
        name: trace
        cluster: {{nodes: 5}}
        network: {{latency_ms: {{uniform: [1, 5]}}}}
        workload: {{clients: 10, rate_per_s: 500, read_fraction: 0.5, cas_fraction: 0}}
        until_ms: {seconds * 1000}
        """
    )


def cpu_s(action: Callable[[], object]) -> float:
    """The processor time of an action: other work on the machine changes it least."""
    begin = time.process_time()
    action()
    return time.process_time() - begin


def reading(path: Path, picture: Path) -> dict[str, Callable[[], object]]:
    """What users do with a trace file."""
    return {
        "read_trace: every record": lambda: read_trace(path),
        "read_tables: all tables": lambda: read_tables(path),
        "read_tables: leadership": lambda: read_tables(path, kinds=LEADERSHIP_KINDS),
        "load: operations": lambda: load(path, kinds={"op"}),
        "save_run_figure": lambda: save_run_figure(path, picture),
    }


def simulate(spec: Scenario, folder: Path, rounds: int) -> dict[str, float]:
    """Processor seconds of the same run without a file and with each format, in turns: the best of some rounds."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, path in (
            ("no file", None),
            ("compact", folder / "run.qtrace"),
            ("JSON lines", folder / "run.jsonl"),
        ):
            spent = cpu_s(partial(run_scenario, spec, 1, trace=path))
            best[name] = min(best.get(name, spent), spent)
    return best


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=120, help="simulated seconds")
    parser.add_argument("--rounds", type=int, default=2, help="rounds, of which the best counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = simulate(scenario(arguments.seconds), folder, arguments.rounds)
        compact, lines = folder / "run.qtrace", folder / "run.jsonl"
        records = len(read_trace(compact))
        print(f"{arguments.seconds} s with 500 operations/s, {records} records; processor time")
        print(f"{'':28} {'JSON lines':>11} {'compact':>9} {'ratio':>6}")
        sizes = [path.stat().st_size / 1e6 for path in (lines, compact)]
        show("size, MB", *sizes)
        show("simulation, s", runs["JSON lines"], runs["compact"])
        print(f"{'simulation without a file, s':28} {runs['no file']:>21.2f}")
        picture = folder / "run.png"
        save_run_figure(compact, picture)  # so that no row has the import of matplotlib
        for what, of_lines in reading(lines, picture).items():
            of_compact = reading(compact, picture)[what]
            best = [float("inf"), float("inf")]
            for _ in range(arguments.rounds):
                for place, action in enumerate((of_lines, of_compact)):
                    best[place] = min(best[place], cpu_s(action))
            show(f"{what}, s", *best)


def show(what: str, of_lines: float, of_compact: float) -> None:
    """Print one row."""
    print(
        f"{what:28} {of_lines:>11.2f} {of_compact:>9.2f} {of_lines / of_compact:>5.1f}x", flush=True
    )


if __name__ == "__main__":
    main()
