"""Run as a process with the layer: takes cases as JSON lines on stdin, says what came of each on stdout.

Argument: a directory for everything. A case is `[operation, call, kind, nth, times]`; kind 0 only counts the calls.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from qcore.errors import QcoreError
from tests.storage.faults.cases import KINDS
from tests.storage.faults.operations import OPERATIONS, OperationContext, check, make_templates

LAYER = ctypes.CDLL(None)
Say = Callable[[object], None]


def plan(where: str, call: str, kind: int, nth: int, times: int) -> None:
    """Tell the layer."""
    LAYER.fault_plan(where.encode(), call.encode(), kind, nth, times)


def in_child(action: Callable[[Say], None]) -> tuple[list[object], int]:
    """Do something in a forked process; what it said, and how it ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            action(partial(write_line, writer))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        said: list[object] = [json.loads(line) for line in stream]
    _, status = os.waitpid(child, 0)
    return said, status


def write_line(file: int, said: object) -> None:
    """One line for the parent, at once: the next call may be the last."""
    os.write(file, json.dumps(said).encode() + b"\n")


def outcome_of(action: Callable[[], None]) -> str:
    """How it went: `done`, `<class>: <text>` of an error made for people, or a traceback."""
    try:
        action()
    except QcoreError as error:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001  # what it is, is the question
        return f"TRACEBACK {traceback.format_exc()}"
    return "done"


def run(root: Path, case: list[object]) -> dict[str, object]:
    """Try one case and the start after it."""
    name, call, kind, nth, times = case
    assert isinstance(name, str)
    assert isinstance(call, str)
    operation = OPERATIONS[name]
    directory = root / "case"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(root / operation.template, directory)
    numbers = (int(str(kind)), int(str(nth)), int(str(times)))

    def attempt(say: Say) -> None:
        world = OperationContext(
            directory,
            lambda: plan(str(directory / "below"), call, *numbers),
            lambda: plan("", "", 0, 0, 0),
            lambda what, value: say([what, value]),
        )
        outcome = outcome_of(lambda: operation.run(world))
        world.disarm()
        say(["outcome", outcome])
        say(["calls", {name: LAYER.fault_count(name.encode()) for name in KINDS}])

    said, status = in_child(attempt)
    held = dict(operation.held)
    result: dict[str, object] = {"outcome": "killed" if status == signal.SIGKILL else "vanished"}
    for pair in said:
        assert isinstance(pair, list)
        what, value = pair
        if what in ("outcome", "calls"):
            result[what] = value
        else:
            held[what] = value
    again = OperationContext(directory, lambda: None, lambda: None, lambda _what, _value: None)
    (next_start,), _ = in_child(lambda say: say(outcome_of(lambda: check(again, held))))
    return {"case": case, "held": held, "next start": next_start, **result}


def main() -> None:
    root = Path(sys.argv[1])
    make_templates(root)
    for line in sys.stdin:
        write_line(sys.stdout.fileno(), run(root, json.loads(line)))


if __name__ == "__main__":
    main()
