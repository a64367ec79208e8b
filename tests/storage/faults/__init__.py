"""System calls that fail: a layer over the C library, and every operation of the storage tested with it.

`layer.c` is built with the machine's compiler and put before the C library with LD_PRELOAD. It makes the n-th call of
one kind on the files below a directory fail: once, several times or for ever. A call fails with an error number, does
half of what was requested (a short read or write), or kills the process. Neither Python nor SQLite notice the layer.

`sweep.py` is the process that runs with the layer. It forks for each case, so a case costs milliseconds.
`operations.py` holds the tested operations. `cases.py` lists the cases and the allowed outcomes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent.parent


@cache
def unavailable_reason() -> str | None:
    """The reason why the layer cannot be used on this machine, or None."""
    if sys.platform != "linux":
        return "the layer needs Linux"
    return None if shutil.which("cc") else "no C compiler (cc) to build the layer with"


def build(directory: Path) -> Path:
    """Compile the layer into a directory. Returns the path of the library."""
    library = directory / "layer.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "layer.c"), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


def environment(library: Path) -> dict[str, str]:
    """The environment of a process with the layer, which does nothing until it gets a plan."""
    return {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)}


def failing(
    library: Path, where: Path, call: str, kind: int, *, nth: int = 1, times: int = 0, gate: Path
) -> dict[str, str]:
    """The environment of a process whose calls fail from its start on, while the file `gate` exists."""
    plan = {
        "FAULT_DIR": where,
        "FAULT_CALL": call,
        "FAULT_KIND": kind,
        "FAULT_NTH": nth,
        "FAULT_TIMES": times,
        "FAULT_WHILE": gate,
    }
    return {**environment(library), **{name: str(value) for name, value in plan.items()}}
