"""Run as a process with the layer: reads cases as JSON lines from stdin, writes the result of each to stdout.

Argument: a directory for all files. A case is `[operation, call, kind, nth, times]`; kind 0 only counts the calls.
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
Report = Callable[[object], None]


def plan(where: str, call: str, kind: int, nth: int, times: int) -> None:
    """Set the plan of the layer."""
    LAYER.fault_plan(where.encode(), call.encode(), kind, nth, times)


def in_child(action: Callable[[Report], None]) -> tuple[list[object], int]:
    """Run an action in a forked process. Returns its reports and its exit status."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            action(partial(write_line, writer))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        reports: list[object] = [json.loads(line) for line in stream]
    _, status = os.waitpid(child, 0)
    return reports, status


def write_line(file: int, report: object) -> None:
    """Write one line for the parent, unbuffered: the next call may be the last."""
    os.write(file, json.dumps(report).encode() + b"\n")


def outcome_of(action: Callable[[], None]) -> str:
    """The outcome: `done`, `<class>: <text>` of an error for users, or a traceback."""
    try:
        action()
    except QcoreError as error:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001  # any exception is a finding
        return f"TRACEBACK {traceback.format_exc()}"
    return "done"


def run(root: Path, case: list[object]) -> dict[str, object]:
    """Run one case and the start after it."""
    name, call, kind, nth, times = case
    assert isinstance(name, str)
    assert isinstance(call, str)
    operation = OPERATIONS[name]
    directory = root / "case"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(root / operation.template, directory)
    numbers = (int(str(kind)), int(str(nth)), int(str(times)))

    def attempt(report: Report) -> None:
        context = OperationContext(
            directory,
            lambda: plan(str(directory / "below"), call, *numbers),
            lambda: plan("", "", 0, 0, 0),
            lambda what, value: report([what, value]),
        )
        outcome = outcome_of(lambda: operation.run(context))
        context.disarm()
        report(["outcome", outcome])
        report(["calls", {name: LAYER.fault_count(name.encode()) for name in KINDS}])

    reports, status = in_child(attempt)
    held = dict(operation.held)
    result: dict[str, object] = {"outcome": "killed" if status == signal.SIGKILL else "vanished"}
    for pair in reports:
        assert isinstance(pair, list)
        what, value = pair
        if what in ("outcome", "calls"):
            result[what] = value
        else:
            held[what] = value
    again = OperationContext(directory, lambda: None, lambda: None, lambda _what, _value: None)
    (next_start,), _ = in_child(lambda report: report(outcome_of(lambda: check(again, held))))
    return {"case": case, "held": held, "next start": next_start, **result}


def main() -> None:
    root = Path(sys.argv[1])
    make_templates(root)
    for line in sys.stdin:
        write_line(sys.stdout.fileno(), run(root, json.loads(line)))


if __name__ == "__main__":
    main()
