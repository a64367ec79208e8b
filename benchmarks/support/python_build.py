"""Which Python runs a measurement, how it was built, and whether qcore is compiled there: every figure needs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from qcore.processes import NodeProcess

#: The checkout that holds these benchmarks.
CHECKOUT = Path(__file__).parents[2]

_LOOK = """
import json, os, platform, sys, sysconfig
options = sysconfig.get_config_var("CONFIG_ARGS") or ""
# Debian's rules build with PGO without this option of configure, and leave no other sign of it.
debian = sys.base_prefix == "/usr" and os.path.exists("/etc/debian_version")
pgo = "--enable-optimizations" in options or debian
import qcore.core.raft as raft
try:
    import uvloop
    loop = True
except ImportError:
    loop = False
file = raft.__file__ or ""
print(json.dumps([platform.python_version(), pgo, not file.endswith(".py"), loop]))
"""

#: Runs a program with another interpreter than the one that the command begins with: the process stays the same.
_CHANGE = "import os, sys; os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"


@dataclass(frozen=True, slots=True)
class PythonBuild:
    """An interpreter with a checkout of qcore.

    Attributes:
        version: of Python.
        optimised: whether Python was built with profile-guided optimisation (PGO).
        compiled: whether qcore is compiled there.
        uvloop: whether uvloop is installed there.
    """

    version: str
    optimised: bool
    compiled: bool
    uvloop: bool

    def __str__(self) -> str:
        built = "with" if self.optimised else "without"
        qcore = "compiled" if self.compiled else "not compiled"
        loop = ", uvloop" if self.uvloop else ""
        return f"Python {self.version} built {built} PGO, qcore {qcore}{loop}"


def busy() -> str:
    """A warning if other programs use the processors; else an empty text."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < cores / 2:
        return ""
    return f"the load average is {load:.1f} on {cores} cores: rates and latencies are those of a busy machine"


def environment_of(program: str = sys.executable, tree: Path = CHECKOUT) -> dict[str, str]:
    """The variables with which a program runs this checkout, with the packages that are installed here."""
    paths = [str(tree)]
    if program != sys.executable:
        paths.append(sysconfig.get_path("purelib"))
    return {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def python_build(program: str = sys.executable, tree: Path = CHECKOUT) -> PythonBuild:
    """Ask an interpreter. SystemExit if it cannot import qcore."""
    done = subprocess.run(
        [program, "-c", _LOOK],
        env={**os.environ, **environment_of(program, tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(
            f"{program} cannot run qcore with the packages of Python {sys.version.split()[0]}:\n"
            f"{done.stderr.strip()}"
        )
    return PythonBuild(*json.loads(done.stdout))


def run_with(node: NodeProcess, program: str, tree: Path) -> None:
    """Let a node run with this interpreter and this checkout."""
    node.environment = {**node.environment, **environment_of(program, tree)}
    if program != sys.executable:
        node.prefix = (program, "-c", _CHANGE)
