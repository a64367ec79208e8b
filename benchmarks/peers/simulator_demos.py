"""The Raft demos of other simulators for Python. Run by a Python from 3.12 on that has the simulator installed.

    PYTHON simulator_demos.py simloop DIRECTORY SEEDS
    PYTHON simulator_demos.py simloom DIRECTORY SEEDS

DIRECTORY is a checkout of the simulator's repository: the packages do not have the demos. Prints a JSON object with the
simulated time, and the processor time that it took.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any


def simloop_seed(directory: Path, seed: int) -> float:
    """One seed of the chaos of `examples/raft`: five nodes, three partitions, 2 % loss and duplication, a client."""
    for part in ("examples/raft", "examples/raft/tests"):
        if str(directory / part) not in sys.path:
            sys.path.insert(0, str(directory / part))
    simloop: Any = importlib.import_module("simloop")
    campaign: Any = importlib.import_module("test_chaos_campaign")
    running: Any = importlib.import_module("simloop._run")
    loop = simloop.SimLoop(seed=seed)
    try:
        failure = running.run_once(loop, lambda: campaign._campaign(disks=False))
        if failure is not None:
            raise failure
        return float(loop.time())
    finally:
        running.finish(loop)


def simloom_seed(directory: Path, seed: int) -> float:
    """One seed of `examples/toy_raft.py`: elections of five nodes under partitions, crashes and loss, without a log."""
    if str(directory / "examples") not in sys.path:
        sys.path.insert(0, str(directory / "examples"))
    simloom: Any = importlib.import_module("simloom")
    demo: Any = importlib.import_module("toy_raft")
    inner = demo.raft_world(buggy=False)

    async def timed(world: Any) -> float:
        leaders = await inner(world)
        assert leaders, "no leader was elected"
        return asyncio.get_running_loop().time()

    return float(simloom.run(timed, seed=seed, on_unhandled="record").value)


def main() -> None:
    """Run the seeds of the named demo."""
    name, directory, seeds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    one = {"simloop": simloop_seed, "simloom": simloom_seed}[name]
    one(directory, 0)  # imports, and fills caches
    began = time.process_time()
    simulated = sum(one(directory, seed) for seed in range(1, seeds + 1))
    took = time.process_time() - began
    version = ".".join(str(part) for part in sys.version_info[:3])
    print(json.dumps({"seeds": seeds, "simulated_s": simulated, "cpu_s": took, "python": version}))


if __name__ == "__main__":
    main()
