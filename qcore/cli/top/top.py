"""`qcore top`: the members of a cluster, their rates, leaders and log lines, renewed every second."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.clients.connection import with_client
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
    split_endpoints,
)
from qcore.cli.output import Row, as_json, csv_header, csv_rows

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from qcore.cli.top.top_samples import ClusterFigures, ClusterSampler
    from qcore.client.client import Client

app = typer.Typer(rich_markup_mode=None)

#: The seconds between the two answers that `--once` takes its rates from, at most.
_ONCE_S = 1.0


@app.command()
def top(
    once: Annotated[bool, typer.Option("--once", help="Print one screen, and end.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.2, help="Seconds between two screens.")
    ] = 1.0,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 3.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Show the members of a cluster, its rates and times, leaders and log lines, as they are now.

    One node is enough: it names the others. Keys: q quits, p pauses, ? shows the others.
    If the output is no terminal, or one that can only print lines, it prints one screen and ends.
    With -o json or csv, it prints one object, or one row for each member, at each interval.
    See docs/operate/dashboard.md.
    """
    targets = split_endpoints(endpoints)
    shows_screen = output is OutputFormat.table and not once and _can_draw()

    async def work(client: Client) -> None:
        from qcore.cli.top.top_samples import ClusterSampler

        sampler = ClusterSampler(client, targets)
        try:
            await sampler.ask()
            error = sampler.error()
            if error is not None:
                raise error
            if shows_screen:
                await _Screen(sampler, interval).run()
            else:
                await _print(sampler, interval, output, once=once or output is OutputFormat.table)
        finally:
            sampler.close()

    with_client(endpoints, timeout, work, admin=True, attempt_timeout_s=timeout)


def _can_draw() -> bool:
    """Whether the output is a terminal on which a screen can be renewed."""
    return sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")


async def _print(
    sampler: ClusterSampler, interval: float, output: OutputFormat, *, once: bool
) -> None:
    if output is OutputFormat.csv:
        csv_header(_columns())
    while True:
        await asyncio.sleep(min(interval, _ONCE_S) if once else interval)
        await sampler.ask(max(interval, _ONCE_S))
        figures = sampler.figures()
        if output is OutputFormat.json:
            print(as_json(as_object(figures)), flush=True)
        elif output is OutputFormat.csv:
            csv_rows(_columns(), [_row(each) for each in as_object(figures)["members"]])
        else:
            _print_once(figures)
        if once:
            return


def as_object(figures: ClusterFigures) -> dict[str, Any]:
    """The figures as JSON: those of the screen, and all events that are kept."""
    return asdict(figures)


def _columns() -> tuple[str, ...]:
    from qcore.cli.top.top_samples import MemberRow

    return tuple(MemberRow.__dataclass_fields__)


def _row(member: dict[str, Any]) -> Row:
    return member


def _print_once(figures: ClusterFigures) -> None:
    from rich.console import Console

    from qcore.cli.top.top_layout import screen

    console = Console(markup=False, highlight=False, emoji=False)
    console.print(screen(figures, width=console.width, height=30))


class _Screen:
    """The screen, and the keys that change it."""

    def __init__(self, sampler: ClusterSampler, interval: float) -> None:
        from qcore.cli.top.top_layout import PANELS

        self._sampler = sampler
        self._interval = interval
        self._panels = dict.fromkeys(PANELS, True)
        self._is_paused = False
        self._shows_keys = True
        self._ended = asyncio.Event()
        self._draw: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Draw until the key `q` or Ctrl-C."""
        from rich.console import Console
        from rich.live import Live

        from qcore.cli.top.top_keys import keys_of_terminal

        console = Console(markup=False, highlight=False, emoji=False)
        figures = self._sampler.figures()
        with (
            Live(
                console=console, screen=True, auto_refresh=False, vertical_overflow="crop"
            ) as live,
            keys_of_terminal(self._on_key),
        ):
            while not self._ended.is_set():
                self._draw = partial(self._show, live.update, console, figures)
                self._draw()
                try:
                    await asyncio.wait_for(self._ended.wait(), self._interval)
                except TimeoutError:
                    await self._sampler.ask(self._interval)
                    if not self._is_paused:
                        figures = self._sampler.figures()

    def _show(self, update: Callable[..., None], console: Console, figures: ClusterFigures) -> None:
        update(self._content(console, figures), refresh=True)

    def _content(self, console: Console, figures: ClusterFigures) -> RenderableType:
        from qcore.cli.top.top_layout import screen

        return screen(
            figures,
            panels=[panel for panel, is_shown in self._panels.items() if is_shown],
            width=console.width,
            height=console.height,
            is_paused=self._is_paused,
            shows_keys=self._shows_keys,
        )

    def _on_key(self, key: str) -> None:
        if key == "q":
            self._ended.set()
            return
        if key == "p":
            self._is_paused = not self._is_paused
        elif key == "?":
            self._shows_keys = not self._shows_keys
        elif key in self._panels:
            self._panels[key] = not self._panels[key]
        self._draw()
