"""qcore beside other programs that do the same, each measured in turns with qcore in one run.

    python -m benchmarks.peers [--rounds 3] [--seconds 2] [--only NAME ...]

| name | what is compared |
|---|---|
| `pysyncobj` | three processes that replicate writes, 1, 64 and 256 in flight |
| `etcd-raft` | the raft library of etcd alone (Go) against qcore's core, three servers in one process |
| `simloop`, `simloom` | the Raft demos of two simulators for Python against qcore's simulator |

etcd itself is in `benchmarks.bench_cluster`. A peer that is not installed is left out, with a line that says how to
install it. `make bench-peers` installs what PyPI has, into out/bench-peers; nothing of it is a dependency of qcore.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks import bench_core
from benchmarks.cluster.systems import QcoreSystem, measure
from benchmarks.loops import core_cluster
from benchmarks.peers import simulators
from benchmarks.support.python_build import CHECKOUT, python_build
from benchmarks.support.results import save

HOME = CHECKOUT / "out" / "bench-peers"
GO_PACKAGES = Path("/usr/share/gocode")
GO_PROGRAM = Path(__file__).parent / "etcd_raft" / "main.go"
NAMES = ("pysyncobj", "etcd-raft", "simloop", "simloom")


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of both.

    Attributes:
        peer: the other program.
        what: what was measured.
        unit: of the figures; more is better.
        qcore, other: medians of the rounds.
        ratio: the median of the ratios of the rounds, qcore's by the other's.
        differs: how what they do differs.
    """

    peer: str
    what: str
    unit: str
    qcore: float
    other: float
    ratio: float
    differs: str


class Missing(Exception):
    """A peer cannot run here. The text says how to install it."""


def in_turns(
    ours: Callable[[], float], theirs: Callable[[], float], rounds: int
) -> tuple[float, float, float]:
    """Medians of both, and of their ratio within a round."""
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    return (
        statistics.median(one for one, _ in pairs),
        statistics.median(other for _, other in pairs),
        statistics.median(one / other for one, other in pairs),
    )


def with_pysyncobj(rounds: int, seconds: float) -> Iterator[Compared]:
    """Real clusters of three processes."""
    python = HOME / "bin" / "python"
    if not python.exists():
        raise Missing("`make bench-peers` installs PySyncObj")
    script = Path(__file__).with_name("pysyncobj_cluster.py")

    def theirs(width: int) -> float:
        done = subprocess.run(
            [str(python), str(script), str(seconds), str(width)],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"PySyncObj failed:\n{done.stderr[-2000:]}")
        (row,) = json.loads(done.stdout)
        if row["errors"]:
            raise SystemExit(f"PySyncObj: {row['errors']} writes failed")
        return float(row["per_s"])

    def ours(system: QcoreSystem, width: int) -> float:
        return measure(system, "write", width, seconds).per_s

    with ExitStack() as stack:
        system = QcoreSystem(stack)
        for width in (1, 64, 256):
            figures = in_turns(
                partial(ours, system, width),
                partial(theirs, width),
                rounds,
            )
            yield Compared(
                "PySyncObj",
                f"writes, {width} in flight",
                "writes/s",
                *figures,
                "qcore: synced to disk, requests over WebSocket; PySyncObj: a journal that is not "
                "synced, the load is a thread of the leader",
            )


def with_etcd_raft(rounds: int, _: float) -> Iterator[Compared]:
    """The cores alone."""
    go = shutil.which("go")
    if go is None or not (GO_PACKAGES / "src/go.etcd.io/etcd/raft").exists():
        raise Missing("Debian: apt-get install golang-go golang-etcd-server-dev")
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "etcd_raft"
        variables = {"GO111MODULE": "off", "GOPATH": str(GO_PACKAGES), "GOFLAGS": ""}
        cache = {"GOCACHE": str(Path(directory) / "cache")}
        subprocess.run(
            [go, "build", "-o", str(program), str(GO_PROGRAM)],
            env={**os.environ, **variables, **cache},
            check=True,
        )
        taken: dict[str, list[tuple[float, float]]] = {
            name: [] for name in ("one_at_a_time", "pipelined", "reads")
        }
        works = (core_cluster.one_at_a_time, core_cluster.pipelined, core_cluster.reads)
        for _round in range(rounds):
            done = subprocess.run([str(program)], capture_output=True, text=True, check=True)
            theirs = json.loads(done.stdout)
            for work in works:
                ours = bench_core.measure(work, 10_000, 3)["operations_per_s"]
                taken[work.__name__].append((ours, float(theirs[work.__name__])))
    titles = ("one command at a time", "64 commands in flight", "64 reads in flight")
    for title, pairs in zip(titles, taken.values(), strict=True):
        yield Compared(
            "etcd's raft library",
            title,
            "operations/s",
            statistics.median(one for one, _ in pairs),
            statistics.median(other for _, other in pairs),
            statistics.median(one / other for one, other in pairs),
            "the library has no event for a finished write, no sessions and no clock of the cluster",
        )


def with_simulator(name: str, checkout: Path, rounds: int) -> Iterator[Compared]:
    """Simulators."""
    demo = simulators.DEMO_OF[name]
    python = HOME / "simulators" / "bin" / "python"
    if missing := demo.missing(python, checkout):
        raise Missing(missing)
    seeds = simulators.SEEDS
    differs = {
        "simloop": (
            "the demo checks four invariants at the end; qcore checks all after each effect, "
            "hashes the trace and checks linearizability"
        ),
        "simloom": "the demo has elections and no log",
    }[name]
    for title, ours in (
        ("the cluster, faults and load of simloop's demo", simulators.like_simloop),
        ("5 nodes, 50 writes/s (the demo: 1.5 or none)", simulators.steady_writes),
    ):
        yield Compared(
            name,
            title,
            "simulated s per s",
            *in_turns(
                partial(ours, seeds),
                partial(demo.simulated_s_per_s, python, checkout, seeds),
                rounds,
            ),
            differs,
        )


def compare(name: str, options: argparse.Namespace) -> list[Compared]:
    """Measure with one peer, and print each figure. Empty if the peer is not installed."""
    rows: list[Compared] = []
    found: Iterator[Compared]
    if name == "pysyncobj":
        found = with_pysyncobj(options.rounds, options.seconds)
    elif name == "etcd-raft":
        found = with_etcd_raft(options.rounds, options.seconds)
    else:
        checkout: Path = getattr(options, name) or HOME / name
        found = with_simulator(name, checkout, options.rounds)
    try:
        for row in found:
            rows.append(row)
            print(
                f"{row.peer:20} {row.what:48} qcore {row.qcore:10,.0f}  other {row.other:10,.0f} "
                f"{row.unit:18} {row.ratio:6.2f} times",
                flush=True,
            )
    except Missing as missing:
        print(f"{name:20} left out: {missing}", flush=True)
    if rows:
        print(f"{'':20} what differs: {rows[0].differs}")
    return rows


def main() -> None:
    """Compare with every peer that is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load on a cluster")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    for name in simulators.DEMO_OF:
        parser.add_argument(
            f"--{name}", type=Path, metavar="DIR", help=f"a checkout of the repository of {name}"
        )
    options = parser.parse_args()
    print(python_build())
    rows = [row for name in options.only for row in compare(name, options)]
    save("peers", [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
