"""Short measurements of one checkout of qcore, for the check against another one.

    python -m benchmarks.record.probes core|sim|codec

Prints a JSON object: where qcore is, and the value of each figure. More is better for each, and each counts processor
time.
The modules of these benchmarks measure both checkouts, so only what they measure differs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable


def core() -> dict[str, float]:
    """Operations per second of the core alone."""
    from benchmarks import bench_core
    from benchmarks.loops import core_cluster

    works = (core_cluster.one_at_a_time, core_cluster.pipelined, core_cluster.reads)
    return {
        f"core: {work.__name__}": bench_core.measure(work, 3000, 2)["operations_per_s"]
        for work in works
    }


def sim() -> dict[str, float]:
    """Simulated seconds per second, with all checks and the trace."""
    from benchmarks import bench_sim

    return {"sim: 5 nodes, 50 writes/s": bench_sim.measure(5, 50, 5, 1)["simulated_s_per_s"]}


def codec() -> dict[str, float]:
    """Messages per second of the codec."""
    from benchmarks.support.codec_costs import codec_costs

    return {f"codec: {name}": 1e6 / cost for name, cost in codec_costs(3, 2000).items()}


#: Each imports what it measures only when it runs: a part that an older checkout lacks does not stop the others.
PROBES: dict[str, Callable[[], dict[str, float]]] = {"core": core, "sim": sim, "codec": codec}


def main() -> None:
    """Run the named probe."""
    import qcore

    print(json.dumps({"qcore": qcore.__file__, "figures": PROBES[sys.argv[1]]()}))


if __name__ == "__main__":
    main()
