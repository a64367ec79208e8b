"""A worker process: runs a client program, and appends what it records to a file.

    python -m tests.recipes.drill.drill_worker MODULE:FUNCTION --endpoints A,B,C --number 1 --clients 4 --seed 1 \
        --out FILE

SIGTERM cancels the program. SIGUSR1 prints where each task waits. Exit code 1 means that the program failed: the last
record has the error.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import traceback
from pathlib import Path
from random import Random
from typing import Final

from qcore.client.client import Client
from qcore.client.programs.program_context import ClientProgram, ProgramContext
from tests.recipes.drill.drill_records import ENDED, FAILED, STARTED, RecordFile, load_function

#: How long tasks may run on after the program and its clients have ended, seconds.
_LAST_TASKS_S: Final = 2.0


async def run_worker(program: ClientProgram, options: argparse.Namespace) -> int:
    """Run the program until it ends or SIGTERM comes. Returns the exit code."""
    endpoints: list[str] = options.endpoints.split(",")
    number: int = options.number
    out = RecordFile(options.out)
    context = ProgramContext(
        number,
        options.clients,
        Client(endpoints),
        Random(f"{options.seed}/{number}"),
        out.append,
        lambda credentials: Client(endpoints, credentials=credentials),
    )
    task = asyncio.ensure_future(program(context))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    loop.add_signal_handler(signal.SIGUSR1, _print_tasks)
    out.write(number, STARTED, {})
    try:
        try:
            await task
        except asyncio.CancelledError:
            how = "SIGTERM"
        else:
            how = "returned"
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends already
        await context.close()
        await _wait_for_tasks()
    except Exception as error:  # noqa: BLE001 - a program may raise anything, and the drill reports it
        text = "".join(traceback.format_exception(error))
        out.write(number, FAILED, {"error": f"{type(error).__name__}: {error}", "traceback": text})
        return 1
    out.write(number, ENDED, {"how": how})
    return 0


async def _wait_for_tasks() -> None:
    """Wait for the tasks that the program and its clients left.

    Raises:
        AssertionError: some run on.
    """
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, running = await asyncio.wait(others, timeout=_LAST_TASKS_S)
        assert not running, f"tasks run on after the end of the program: {running}"


def _print_tasks() -> None:
    for task in asyncio.all_tasks():
        task.print_stack()
    sys.stderr.flush()


def main() -> int:
    """Parse the options and run. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", metavar="MODULE:FUNCTION")
    parser.add_argument("--endpoints", required=True, help="host:port of the nodes, with commas")
    parser.add_argument("--number", type=int, required=True, help="of this worker, from 1")
    parser.add_argument("--clients", type=int, required=True, help="how many workers there are")
    parser.add_argument("--seed", required=True, help="any text")
    parser.add_argument("--out", type=Path, required=True, help="the file of the records")
    options = parser.parse_args()
    return asyncio.run(run_worker(load_function(options.program), options))


if __name__ == "__main__":
    sys.exit(main())
