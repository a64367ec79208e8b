"""How long programs take to start: whole processes, from `fork` to exit, in turns, and the median of each.

The targets: `import qcore` below 50 ms more than the bare interpreter, and `qcore --help` below 200 ms in total.
The CPU time of a process depends less on other load than its wall time.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

#: What is measured -> the arguments of the interpreter.
PROGRAMS = {
    "bare interpreter": ("-c", "pass"),
    "import qcore": ("-c", "import qcore"),
    "import qcore.core": ("-c", "import qcore.core"),
    "from qcore import Client": ("-c", "from qcore import Client"),
    "from qcore import run_node": ("-c", "from qcore import run_node"),
    "from qcore import run_scenario": ("-c", "from qcore import run_scenario"),
    "qcore --help": ("-m", "qcore", "--help"),
    "qcore --version": ("-m", "qcore", "--version"),
    "qcore sim list": ("-m", "qcore", "sim", "list"),
}


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a program, in milliseconds."""

    wall_ms: float
    cpu_ms: float


def start(arguments: tuple[str, ...]) -> Start:
    """Run the program to its end and measure it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Start(1000 * wall, 1000 * cpu)


def main() -> None:
    """Print the medians as a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="how often each program starts")
    rounds = parser.parse_args().rounds
    seen: dict[str, list[Start]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds + 1):
        for name, arguments in PROGRAMS.items():
            seen[name].append(start(arguments))
    print(f"{'':32} wall ms   best  CPU ms  CPU ms above the bare interpreter")
    bare = statistics.median(each.cpu_ms for each in seen["bare interpreter"][1:])
    for name, starts in seen.items():
        measured = starts[1:]  # the first round fills the caches of the disk
        wall = statistics.median(each.wall_ms for each in measured)
        best = min(each.wall_ms for each in measured)
        cpu = statistics.median(each.cpu_ms for each in measured)
        print(f"{name:32} {wall:7.0f} {best:6.0f} {cpu:7.0f} {cpu - bare:7.0f}")


if __name__ == "__main__":
    main()
