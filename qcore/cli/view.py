"""`qcore view`: a run, or the traces of real nodes, as a page that a browser opens, or as another file."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.options import OutputFormat, OutputOption, non_empty_path
from qcore.cli.output import show
from qcore.cli.sim.run_argument import ParametersOption, RunSeedOption, read_run
from qcore.cli.sim.stall_watch import STALL_TIMEOUT_S, StallTimeoutOption, stall_watch
from qcore.errors import ConfigError
from qcore.files import open_regular

if TYPE_CHECKING:
    from qcore.analysis.course.course_types import Course
    from qcore.analysis.plotting.time_window import Window
    from qcore.sim.verdict.result import RunResult
    from qcore.view.run_summary import Verdict

app = typer.Typer(rich_markup_mode=None)


class Form(StrEnum):
    """What is made of a run."""

    html = "html"
    svg = "svg"
    pdf = "pdf"
    shiviz = "shiviz"
    perfetto = "perfetto"
    text = "text"


_SUFFIXES: Final = {
    Form.html: ".html",
    Form.svg: ".svg",
    Form.pdf: ".pdf",
    Form.shiviz: ".shiviz.txt",
    Form.perfetto: ".perfetto.json",
    Form.text: ".txt",
}
#: How a trace of JSON lines begins.
_JSON_LINE: Final = b'{"t_us":'
#: A file with such a name is a trace, and no scenario.
_TRACE_SUFFIXES: Final = (".qtrace", ".jsonl", ".ndjson")
_HEAD_BYTES: Final = 16
_MS: Final = 1000


@app.command()
def view(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="A trace; the traces of the nodes of a cluster; or a run: a scenario file, the name of a shipped "
            "scenario, or the directory of an artifact.",
        ),
    ],
    seed: RunSeedOption = None,
    parameters: ParametersOption = [],  # noqa: B006 - typer reads the default and never changes it
    form: Annotated[
        Form,
        typer.Option(
            "--as",
            help="What to write: a page; a picture, which is a space-time diagram if it shows a part of the run; a "
            "file for ShiViz or Perfetto; or what happened, in words.",
        ),
    ] = Form.html,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            parser=non_empty_path,
            metavar="PATH",
            help="The file to write. Default: a file in this directory, named after the run and its seed.",
        ),
    ] = None,
    from_ms: Annotated[
        float | None,
        typer.Option("--from-ms", metavar="T", min=0, help="Show the run from this time on."),
    ] = None,
    to_ms: Annotated[
        float | None,
        typer.Option("--to-ms", metavar="T", min=0, help="Show the run until this time."),
    ] = None,
    around: Annotated[
        str | None,
        typer.Option(
            "--around",
            metavar="NAME:N",
            help="Show what happened around election:N, fault:N, leaderless:N or violation:N, counted from 1. A page "
            "holds the whole run, and opens there.",
        ),
    ] = None,
    align: Annotated[
        bool,
        typer.Option(
            "--align",
            help="Correct the times of real nodes by the offsets of their clocks, as far as their messages show them.",
        ),
    ] = False,
    open_page: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open",
            help="Open the page in a browser. Default: only at a terminal with a display.",
        ),
    ] = None,
    output: OutputOption = OutputFormat.table,
    stall_timeout: StallTimeoutOption = STALL_TIMEOUT_S,
) -> None:
    """Write a page that shows a run: who led when, every message and log, and what the clients saw.

    The page is one file that needs no server and no network. Times are milliseconds since the begin of the cluster, as
    on the page: since the first record of a simulated run, or shortly before real nodes had a voter. Exit code 0: the
    file was written, and a run that was made for it kept its promises; 1: it did not; 2: FILE is no trace and no
    scenario, or the file cannot be written.
    """
    _check_part(from_ms, to_ms, around, form)
    shown = _read(files, seed, parameters, align=align, stall_timeout=stall_timeout)
    target = _target(shown.course, out, form, files)
    part = _part(shown.course, from_ms, to_ms, around)
    _write(shown, target, form, part, is_whole_page=around is not None)
    link = _link(shown.course, target, part) if form is Form.html and around else ""
    _report(shown, target, link, output)
    if form is Form.html and (open_page or (open_page is None and _has_display())):
        _open(link or target.resolve().as_uri())
    if shown.result is not None and not shown.result.ok:
        print(f"failed; replay with: {shown.result.replay}", file=sys.stderr)
        raise typer.Exit(ExitCode.FAILED)


def _check_part(from_ms: float | None, to_ms: float | None, around: str | None, form: Form) -> None:
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        raise ConfigError(f"--from-ms {from_ms:g} is not before --to-ms {to_ms:g}")
    is_part = from_ms is not None or to_ms is not None
    if around is not None and is_part:
        raise ConfigError("--around chooses the part to show: leave out --from-ms and --to-ms")
    if form in (Form.shiviz, Form.perfetto, Form.text) and (is_part or around is not None):
        raise ConfigError(
            f"--as {form} writes the whole run: leave out --from-ms, --to-ms and --around"
        )


def _part(
    course: Course, from_ms: float | None, to_ms: float | None, around: str | None
) -> Window | None:
    """The part of the run to show; None for all of it."""
    from qcore.analysis.plotting.time_window import Window, window_of

    if around is not None:
        return window_of(course, around)
    if from_ms is None and to_ms is None:
        return None
    begin_us = course.begin_us
    start_us = begin_us + round((from_ms or 0) * _MS)
    end_us = course.end_us if to_ms is None else begin_us + round(to_ms * _MS)
    if start_us >= min(end_us, course.end_us):
        raise ConfigError(
            f"the part from {(start_us - begin_us) / _MS:g} to {(end_us - begin_us) / _MS:g} ms is not in this run, "
            f"which lasts from 0 to {(course.end_us - begin_us) / _MS:g} ms"
        )
    return window_of(course, Window(start_us, end_us))


@dataclass(slots=True, frozen=True)
class _Shown:
    """What is shown.

    Attributes:
        result: the verdict of the run that was made for it.
    """

    course: Course
    result: RunResult | None

    @property
    def verdicts(self) -> list[Verdict]:
        """How the expectations of the run were judged; empty if it was not made here."""
        from qcore.view.run_summary import Verdict

        found = () if self.result is None else self.result.expectations
        return [Verdict(each.name, each.ok, each.expected, each.seen) for each in found]


def _read(
    files: Sequence[str],
    seed: int | None,
    parameters: Sequence[str],
    *,
    align: bool,
    stall_timeout: float,
) -> _Shown:
    from qcore.analysis.course.read_course import read_course

    traces = [file for file in files if _is_trace(file)]
    for file in files:
        if file not in traces and Path(file).suffix in _TRACE_SUFFIXES:
            _check_that_it_exists(file)
            raise ConfigError(f"{file} is no trace: it does not begin like one")
    if not traces and len(files) == 1:
        if align:
            raise ConfigError("--align corrects the clocks of real nodes: give their traces")
        with stall_watch(stall_timeout):
            return _run(files[0], seed, parameters)
    for file in files:
        if file not in traces:
            raise ConfigError(f"{file} is no trace: give several files only if all are traces")
    if seed is not None or parameters:
        raise ConfigError(f"--seed and --set choose a run of a scenario; {files[0]} is a trace")
    course = read_course(*traces, align=align)
    if align and course.is_simulated:
        raise ConfigError("--align corrects the clocks of real nodes; this trace is simulated")
    return _Shown(course, None)


def _check_that_it_exists(file: str) -> None:
    try:
        with open_regular(file):
            return
    except OSError as error:
        raise ConfigError(f"cannot read the trace {file}: {error.strerror or error}") from None


def _is_trace(text: str) -> bool:
    from qcore.trace.compact_trace import is_compact

    try:
        with open_regular(text) as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return is_compact(head) or head.startswith(_JSON_LINE)


def _run(run: str, seed: int | None, parameters: Sequence[str]) -> _Shown:
    from qcore.analysis.course.read_course import read_course
    from qcore.sim.artifacts import Artifact
    from qcore.sim.run import run_scenario
    from qcore.trace import CompactTrace

    given = read_run(run, parameters)
    scenario = given.scenario if isinstance(given, Artifact) else given
    if seed is None:
        seed = given.seed if isinstance(given, Artifact) else 1
    stream = io.BytesIO()
    result = run_scenario(scenario, seed, trace=stream)
    return _Shown(read_course(CompactTrace(stream.getvalue(), run)), result)


def _target(course: Course, out: Path | None, form: Form, files: Sequence[str]) -> Path:
    """The file to write.

    Raises:
        ConfigError: it is one of the files that are shown, or its directory does not exist.
    """
    if out is None:
        if course.is_simulated:
            name = f"{course.tables.name or 'run'}-{course.tables.seed}"
        else:
            name = f"nodes-{'-'.join(map(str, course.nodes))}"
        out = Path(re.sub(r"[^\w.-]+", "-", name) + _SUFFIXES[form])
    for file in files:
        with suppress(OSError):
            if out.samefile(file):
                raise ConfigError(f"--out {out} is the file that is to be shown: name another one")
    if not out.parent.is_dir():
        raise ConfigError(f"cannot write {out}: the directory {out.parent} does not exist")
    return out


def _write(
    shown: _Shown, target: Path, form: Form, part: Window | None, *, is_whole_page: bool
) -> None:
    course = shown.course
    if form is Form.html:
        from qcore.view import save_page

        if part is None or is_whole_page:
            save_page(course, target, verdicts=shown.verdicts)
        else:
            from_ms, to_ms = (
                (t_us - course.begin_us) / _MS for t_us in (part.start_us, part.end_us)
            )
            save_page(course, target, from_ms=from_ms, to_ms=to_ms, verdicts=shown.verdicts)
    elif form in (Form.svg, Form.pdf):
        _draw(course, target, form, part)
    else:
        try:
            target.write_text(_text(shown, form), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {target}: {error.strerror}") from None


def _draw(course: Course, target: Path, form: Form, part: Window | None) -> None:
    if part is None:
        from qcore.analysis.figure import run_figure

        figure = run_figure(course)
    else:
        from qcore.analysis.plotting.spacetime_plot import plot_spacetime

        figure = plot_spacetime(course, part).get_figure(root=True)  # type: ignore[assignment]  # axes have a figure
    try:
        figure.savefig(target, format=form.value)
    except OSError as error:
        raise ConfigError(f"cannot write the picture {target}: {error.strerror}") from None


def _text(shown: _Shown, form: Form) -> str:
    course = shown.course
    if form is Form.shiviz:
        from qcore.analysis.exports.shiviz_log import shiviz

        return shiviz(course)
    if form is Form.perfetto:
        from qcore.analysis.exports.perfetto_trace import perfetto

        return perfetto(course)
    from qcore.view.run_in_words import in_words

    return in_words(course, shown.verdicts)


def _link(course: Course, target: Path, part: Window | None) -> str:
    """The address of the page at the beginning of a part of the run."""
    if part is None:
        return ""
    start_us = max(part.start_us, course.begin_us)
    start_s, length_s = (start_us - course.begin_us) / 1e6, (part.end_us - start_us) / 1e6
    moment = start_s + length_s / 2
    address = target.resolve().as_uri()
    return f"{address}#t={moment:.6f}&w={length_s:.6f}&from={start_s:.6f}"


def _report(shown: _Shown, target: Path, link: str, output: OutputFormat) -> None:
    course = shown.course
    body = {
        "file": str(target),
        "bytes": target.stat().st_size,
        "name": course.tables.name,
        "seed": course.tables.seed,
        "nodes": list(course.nodes),
        "events": len(course.records),
        "elections": len(course.elections),
        "violations": len(course.tables.violations),
        "details": course.has_details,
        "link": link,
    }
    text = (
        f"{target}: {len(course.records)} events, {len(course.elections)} elections, "
        f"{len(course.tables.violations)} violations"
    )
    show(output, body, text=f"{text}\n{link}" if link else text, indent=2)


def _has_display() -> bool:
    """Whether a browser would open a window, and a person would see it."""
    if not sys.stdout.isatty():
        return False
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open(address: str) -> None:
    import webbrowser

    if not webbrowser.open(address):
        print(f"no browser could be started; open {address}", file=sys.stderr)
