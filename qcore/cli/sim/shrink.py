"""`qcore sim shrink`: the smallest failing run with the same cause, as a scenario and as an artifact."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.options import JobsOption, OutputFormat, OutputOption, non_empty_path
from qcore.cli.output import show
from qcore.cli.sim.run_argument import ParametersOption, read_run
from qcore.cli.sim.stall_watch import STALL_TIMEOUT_S, StallTimeoutOption, stall_watch

if TYPE_CHECKING:
    from qcore.sim.shrinking import ShrinkResult
    from qcore.sim.shrinking.shrink_search import ShrinkSearch

#: A line of progress after so many runs or seconds, if standard error is no terminal.
_RUNS_PER_LINE = 100
_S_PER_LINE = 10.0
#: What is made smaller again and again.
_TIMES = ("the time after ", "operations after ")
_NUMBER = re.compile(r"[\d.]+")


def shrink(
    run: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="The directory of an artifact, a scenario file, or the name of a shipped scenario.",
        ),
    ],
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            envvar="QCORE_SEED",
            help="The seed that fails. Default: that of the artifact, or 1.",
        ),
    ] = None,
    parameters: ParametersOption = [],  # noqa: B006 - typer reads the default and never changes it
    directory: Annotated[
        Path | None,
        typer.Option(
            "--out",
            parser=non_empty_path,
            metavar="DIR",
            help="Where to save the smallest run as an artifact. Default: beside the artifact or scenario, with "
            "-shrunk at the end of its name.",
        ),
    ] = None,
    budget_runs: Annotated[
        int, typer.Option("--budget-runs", min=1, help="The most runs of the search.")
    ] = 6000,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds",
            min=0.1,
            help="The longest time of the search. With it, the result may depend on the speed of the computer.",
        ),
    ] = None,
    jobs: JobsOption = None,
    stall_timeout: StallTimeoutOption = STALL_TIMEOUT_S,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Find the smallest run that fails for the same cause, and print it as a scenario.

    It removes steps of the timeline, nodes, clients, operations, settings and time, as long as the run fails for the
    same cause, with the same or another seed. What it removed is printed on standard error. Ctrl-C ends the search
    with the smallest run until then. Exit code 0: the smallest run was found and saved; 2: the run passes, or the
    scenario is invalid; 130: interrupted.
    """
    from qcore.sim.shrinking import shrink as shrink_run
    from qcore.sim.shrinking.shrink_api import default_directory

    progress = _Progress()
    with stall_watch(stall_timeout), _interruptible() as interrupted:
        given = read_run(run, parameters)
        result = shrink_run(
            given,
            seed,
            directory=directory or default_directory(given, seed),
            budget_runs=budget_runs,
            seconds=seconds,
            jobs=jobs or os.cpu_count() or 1,
            progress=progress,
            stop=interrupted.is_set,
        )
    progress.finish()
    show(output, result.to_json(), text=result.text.rstrip("\n"), indent=2)
    _print_summary(result)
    if interrupted.is_set():
        raise typer.Exit(ExitCode.INTERRUPTED)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets. A second one ends the command."""
    interrupted = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        print("\nends after this run; Ctrl-C again to stop now", file=sys.stderr, flush=True)

    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


class _Progress:
    """Prints how far the search is: on a terminal in one line, otherwise now and then."""

    def __init__(self) -> None:
        self._printed, self._at_s = 0, time.monotonic()
        self._rewrites = sys.stderr.isatty()

    def __call__(self, search: ShrinkSearch) -> None:
        now = time.monotonic()
        is_due = search.runs >= self._printed + _RUNS_PER_LINE or now >= self._at_s + _S_PER_LINE
        if self._rewrites or is_due:
            self._printed, self._at_s = search.runs, now
            size = search.case.outcome.size
            text = f"{search.runs} runs: {size if size is not None else '-'}"
            print(
                f"\r{text}\x1b[K" if self._rewrites else text,
                file=sys.stderr,
                end="" if self._rewrites else "\n",
                flush=True,
            )

    def finish(self) -> None:
        """Leave the line."""
        if self._rewrites:
            print(file=sys.stderr)


def _print_summary(result: ShrinkResult) -> None:
    lines = [f"removed  {text}" for text in _without_steps_between(result.removed)]
    lines += [
        f"before   {result.before}",
        f"after    {result.after}",
        f"cause    {result.cause.key}: {result.cause.text}",
        f"runs     {result.runs}"
        + (
            ""
            if result.is_minimal
            else "; ended early: a larger --budget-runs or --seconds may remove more"
        ),
    ]
    if result.artifact is not None:
        lines += [f"saved    {result.artifact.directory}", f"replay   {result.artifact.replay}"]
    print("\n".join(lines), file=sys.stderr)


def _without_steps_between(removed: Sequence[str]) -> list[str]:
    """Of the times that the search tried one after the other, only the last."""
    last = {_NUMBER.sub("", text): text for text in removed if text.startswith(_TIMES)}
    return [text for text in removed if last.get(_NUMBER.sub("", text), text) == text]
