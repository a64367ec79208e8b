"""The speed of the pure core: three servers in one process, without disk, network or JSON.

    python -m benchmarks.bench_core [--commands 20000] [--interpreted-loop] [--json]

Every step of every server counts. A write is durable immediately, but the core still gets a separate `WriteDurable`
event, as from a real driver. The loop around the cores is `benchmarks.loops.core_cluster`, which is compiled if qcore
is.

| figure | what is replicated |
|---|---|
| `one_at_a_time` | one command, then the next once it is committed |
| `pipelined` | 64 proposals of one command each before anything is delivered |
| `batched` | one proposal of 64 commands, then the next once it is committed |
| `reads` | 64 linearizable reads at a time |
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from benchmarks.loops import core_cluster
from benchmarks.loops.core_cluster import CoreCluster
from benchmarks.support.results import save


def measure(
    work: Callable[[CoreCluster], int],
    operations: int,
    repeats: int = 5,
    make: Callable[[], CoreCluster] = CoreCluster,
) -> dict[str, float]:
    """The best of several runs, in CPU time, because other work on the machine only adds time."""
    best: dict[str, float] = {}
    for _ in range(repeats):
        cluster = make()
        cluster.steps = 0
        gc.collect()
        done = 0
        start = time.process_time()
        while done < operations:
            done += work(cluster)
        seconds = time.process_time() - start
        if work.__name__ not in ("reads", "lease_reads"):
            assert cluster.committed == done + 2, "every command must be committed"
        figures = {
            "operations_per_s": round(done / seconds),
            "steps_per_s": round(cluster.steps / seconds),
            "steps_per_operation": round(cluster.steps / done, 2),
        }
        if figures["operations_per_s"] > best.get("operations_per_s", 0):
            best = figures
    return best


def run(commands: int = 20_000, loop: ModuleType = core_cluster) -> dict[str, dict[str, float]]:
    """All figures, by name."""
    works = (loop.one_at_a_time, loop.pipelined, loop.batched, loop.reads)
    return {work.__name__: measure(work, commands, make=loop.CoreCluster) for work in works}


def interpreted_loop() -> ModuleType:
    """The loop as plain Python, whatever the build of the cores is."""
    source = Path(core_cluster.__file__).with_name("core_cluster.py")
    spec = spec_from_file_location("interpreted_core_cluster", source)
    assert spec is not None, "the name is that of a source"
    assert spec.loader is not None, "as the line above"
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--commands", type=int, default=20_000, help="operations for each figure")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--interpreted-loop",
        action="store_true",
        help="run the loop around the cores as plain Python",
    )
    arguments = parser.parse_args()
    loop = interpreted_loop() if arguments.interpreted_loop else core_cluster
    figures = run(arguments.commands, loop)
    save("core", figures)
    if arguments.json:
        print(json.dumps({"core": figures}))
        return
    print(f"{'':14} {'operations/s':>12} {'steps/s':>9} {'steps/operation':>16}")
    for name, row in figures.items():
        print(
            f"{name:14} {row['operations_per_s']:>12,} {row['steps_per_s']:>9,} "
            f"{row['steps_per_operation']:>16}"
        )


if __name__ == "__main__":
    main()
