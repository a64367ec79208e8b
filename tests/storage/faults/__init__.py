"""System calls that fail: a layer before the C library, and every operation of the storage tried with it.

`layer.c` is built with the machine's compiler and put before the C library with LD_PRELOAD. It makes the n-th call of
one kind on the files below a directory fail: once, some times or for ever, with an error number, with half of what was
asked for (a short read or write), or by killing the process at that moment. Neither Python nor SQLite know.

`sweep.py` is the process that runs with the layer: it forks for each case, so that one costs milliseconds.
`operations.py` holds what is tried, and `cases.py` says which cases there are and what may come of each.
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
    """Why the layer cannot be used on this machine, or None."""
    if sys.platform != "linux":
        return "the layer needs Linux"
    return None if shutil.which("cc") else "no C compiler (cc) to build the layer with"


def build(directory: Path) -> Path:
    """Compile the layer into a directory; returns the library."""
    library = directory / "layer.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "layer.c"), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


def environment(library: Path) -> dict[str, str]:
    """That of a process with the layer, which does nothing until it is told to."""
    return {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)}


def failing(
    library: Path, where: Path, call: str, kind: int, *, nth: int = 1, times: int = 0, gate: Path
) -> dict[str, str]:
    """That of a process whose calls fail from its start on, whenever the file `gate` exists."""
    plan = {
        "FAULT_DIR": where,
        "FAULT_CALL": call,
        "FAULT_KIND": kind,
        "FAULT_NTH": nth,
        "FAULT_TIMES": times,
        "FAULT_WHILE": gate,
    }
    return {**environment(library), **{name: str(value) for name, value in plan.items()}}
