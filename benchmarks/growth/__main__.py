"""Curves of growth: the log, entities, connections, nodes and values, as tables and as one picture.

    python -m benchmarks.growth [--only NAME ...] [--quick] [--rounds 3] [--draw]

| name | what grows |
|---|---|
| `log` | entries of the log, 1 k to 1 M: in the core, on disk, and at a start |
| `entities` | entities of the store, 1 k to 1 M: operations of the state machine, as in `benchmarks.bench_growth` |
| `connections` | connections to the leader of three nodes, 1 to 1,000, each with one write in flight |
| `nodes` | nodes of a cluster, 3 to 7, with 64 writes in flight |
| `values` | the value that a write sets, 10 bytes to 1 MB, with 8 writes in flight |

Each is kept in out/bench/growth. `--draw` measures nothing: it draws what is there into docs/img/growth.png, and
writes the tables into benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from benchmarks.bench_growth import entity_figures, in_new_process
from benchmarks.cluster.systems import QcoreSystem, measure
from benchmarks.cluster.wire import Load, Measured
from benchmarks.growth.curves import Curve, draw, load_all, save, table, with_tables
from benchmarks.growth.logs import log_figures
from benchmarks.support.python_build import CHECKOUT, python_build

KEPT = CHECKOUT / "out" / "bench" / "growth"
README = CHECKOUT / "benchmarks" / "README.md"
PICTURE = CHECKOUT / "docs" / "img" / "growth.png"
NAMES = ("log", "entities", "connections", "nodes", "values")
THOUSANDS = (1_000, 10_000, 100_000, 1_000_000)
CONNECTIONS = (1, 3, 10, 30, 100, 300, 1000)
NODES = (3, 4, 5, 6, 7)
#: A request may have 1 MiB, and more than its value is in it.
VALUES = (10, 100, 1000, 10_000, 100_000, 1_000_000)
#: The figures of the entity store that are kept here; `benchmarks.bench_growth` has all.
ENTITIES = (
    "create under one parent",
    "read `Children->n->Name`",
    "read a field",
    "write a field",
    "hash after a write",
    "`StoreFindEntities`, first page",
    "delete a child",
)


def log_curve(sizes: tuple[int, ...]) -> Curve:
    """The cost of a long log."""
    columns = [in_new_process(log_figures, size) for size in sizes]
    series = {name: [column[name] for column in columns] for name in columns[0]}
    return Curve(
        "log",
        "A log grows",
        "entries in the log",
        sizes,
        series,
        ("a command in the core, µs", "append of one entry, CPU µs"),
        "µs of processor time",
    )


def entity_curve(sizes: tuple[int, ...]) -> Curve:
    """The cost of the operations on a large store."""
    columns = [in_new_process(entity_figures, size) for size in sizes]
    series = {f"{name}, µs": [1e6 * column[name] for column in columns] for name in ENTITIES}
    series["memory for each entity, bytes"] = [column["bytes an entity"] for column in columns]
    return Curve(
        "entities",
        "The entity store grows",
        "entities",
        sizes,
        series,
        tuple(name for name in series if name.endswith("µs")),
        "µs of processor time",
    )


def of_load(
    change: Callable[[Load], Load], in_flight: int, seconds: float, rounds: int, size: int = 3
) -> Measured:
    """The median round of a load on a new cluster."""
    with ExitStack() as stack:
        # By default a node takes 512 clients.
        many = ["--max-clients", str(2 * CONNECTIONS[-1])]
        system = QcoreSystem(stack, size=size, connections=None, arguments=many)
        taken = [measure(system, "write", in_flight, seconds, change=change) for _ in range(rounds)]
    for one in taken:
        if one.errors:
            raise SystemExit(f"{one.errors} writes failed")
    return sorted(taken, key=lambda one: one.per_s)[len(taken) // 2]


def series_of(columns: list[Measured]) -> dict[str, list[float]]:
    """The usual figures of loads."""
    return {
        "writes/s": [one.per_s for one in columns],
        "p50, ms": [one.p50_ms for one in columns],
        "p99, ms": [one.p99_ms for one in columns],
        "leader, CPU µs a write": [one.processes_us[0] for one in columns],
        "a follower, CPU µs a write": [statistics.mean(one.processes_us[1:]) for one in columns],
    }


def connection_curve(sizes: tuple[int, ...], seconds: float, rounds: int) -> Curve:
    """Each connection keeps one write in flight."""
    columns = [of_load(lambda load: load, size, seconds, rounds) for size in sizes]
    return Curve(
        "connections",
        "Connections to the leader, one write in flight on each",
        "connections",
        sizes,
        series_of(columns),
        ("p50, ms", "p99, ms"),
        "ms",
    )


def node_curve(sizes: tuple[int, ...], seconds: float, rounds: int) -> Curve:
    """64 writes in flight on 8 connections; all nodes share the cores of this machine."""

    def change(load: Load) -> Load:
        return replace(load, connections=8)

    columns = [of_load(change, 64, seconds, rounds, size) for size in sizes]
    return Curve(
        "nodes",
        "Nodes on two cores, 64 writes in flight",
        "nodes",
        sizes,
        series_of(columns),
        ("leader, CPU µs a write", "a follower, CPU µs a write"),
        "µs of processor time a write",
    )


def with_value(text: str, load: Load) -> Load:
    """The load with another value."""
    return replace(load, value=text)


def value_curve(sizes: tuple[int, ...], seconds: float, rounds: int) -> Curve:
    """8 writes in flight on 8 connections."""
    columns = [of_load(partial(with_value, "v" * size), 8, seconds, rounds) for size in sizes]
    series = series_of(columns)
    series["MB/s"] = [one.per_s * size / 1e6 for one, size in zip(columns, sizes, strict=True)]
    return Curve(
        "values",
        "The value of a write grows, 8 in flight",
        "bytes of the value",
        sizes,
        series,
        ("writes/s", "MB/s"),
        "per second",
    )


def curve_of(name: str, *, quick: bool, seconds: float, rounds: int) -> Curve:
    """Measure one."""
    if name == "log":
        return log_curve(THOUSANDS[:2] if quick else THOUSANDS)
    if name == "entities":
        return entity_curve(THOUSANDS[:2] if quick else THOUSANDS)
    if name == "connections":
        return connection_curve((1, 100) if quick else CONNECTIONS, seconds, rounds)
    if name == "nodes":
        return node_curve((3, 5) if quick else NODES, seconds, rounds)
    return value_curve((10, 10_000) if quick else VALUES, seconds, rounds)


def main() -> None:
    """Measure, keep and print; draw if all of it was measured or if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="two sizes of each, and no picture")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load on a cluster")
    parser.add_argument("--rounds", type=int, default=3, help="of each load on a cluster")
    parser.add_argument("--draw", action="store_true", help="only draw what was measured before")
    options = parser.parse_args()
    folder = KEPT / "quick" if options.quick else KEPT
    if options.draw:
        curves = load_all(KEPT, NAMES)
        draw(PICTURE, curves)
        README.write_text(with_tables(README.read_text(), curves))
        for curve in curves:
            print(f"{curve.name}: {curve.build}")
        print(f"written: {PICTURE} and the tables of {README}")
        return
    build = str(python_build())
    print(build)
    rounds = 1 if options.quick else options.rounds
    for name in options.only:
        curve = curve_of(name, quick=options.quick, seconds=options.seconds, rounds=rounds)
        save(folder, replace(curve, build=build))
        print(f"\n{curve.title}\n\n{table(curve)}", flush=True)


if __name__ == "__main__":
    main()
