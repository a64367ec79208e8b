"""Prints the verdict of a simulated run for humans, in colour on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from qcore.sim.verdict.result import Expectation, Json, RunResult

_SHOWN_VIOLATIONS = 5
#: Before the second and later lines of an explanation.
_INDENT = " " * 6


def print_verdict(result: RunResult, summary: str = "") -> None:
    """Print the verdict to stdout."""
    # soft_wrap: a pipe gets unbroken lines, and a terminal wraps them itself.
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for line in _lines(result, summary):
        console.print(line)


def _lines(result: RunResult, summary: str) -> Iterable[Text]:
    word, style = ("PASS", "bold green") if result.ok else ("FAIL", "bold red")
    yield Text.assemble((word, style), "  ", (result.scenario, "bold"), f"  seed {result.seed}")
    if summary:
        yield Text(f"      {summary}", style="dim")
    yield Text()
    yield from _expectations(result.expectations)
    if result.violations:
        yield Text()
        yield from _violations(result)
    yield Text()
    yield from _numbers(result.metrics)
    yield Text(f"trace   {result.trace_sha256}", style="dim")
    if not result.ok:
        yield Text.assemble("replay  ", (result.replay, "bold"))


def _expectations(expectations: Iterable[Expectation]) -> Iterable[Text]:
    rows = [("", "expectation", "expected", "seen")]
    rows += [("ok" if e.ok else "FAIL", e.name, e.expected, e.seen) for e in expectations]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    styles = {"": "dim", "ok": "green", "FAIL": "bold red"}
    for mark, name, expected, seen in rows:
        style = "" if mark == "ok" else styles[mark]
        first, *others = seen.split("\n")
        yield Text.assemble(
            (f"{mark:{widths[0]}}  ", styles[mark]),
            (f"{name:{widths[1]}}  {expected:{widths[2]}}  ", "" if mark else "dim"),
            (first, style),
        )
        for line in others:
            yield Text(f"{_INDENT}{line}", style=style)


def _violations(result: RunResult) -> Iterable[Text]:
    for violation in result.violations[:_SHOWN_VIOLATIONS]:
        where = f"node {violation.node}, " if violation.node else ""
        first, *others = violation.note.split("\n")
        yield Text.assemble(
            (f"violation  {violation.check}", "bold red"),
            f"  {where}{violation.t_us / 1000:.3f} ms: {first}",
        )
        for line in others:
            yield Text(f"{_INDENT}{line}")
    more = len(result.violations) - _SHOWN_VIOLATIONS
    if more > 0:
        yield Text(f"           and {more} more")


def _numbers(metrics: Mapping[str, Json]) -> Iterable[Text]:
    yield Text(
        f"elections {metrics['elections']}, leader changes {metrics['leader_changes']}, "
        f"highest term {metrics['highest_term']}, "
        f"{_ms(metrics['time_without_leader_ms'])} ms without a leader"
    )
    operations = metrics["operations"]
    assert isinstance(operations, dict)
    for kind, counts in operations.items():
        assert isinstance(counts, dict)
        if any(counts[key] for key in ("ok", "refused", "unknown")):
            yield Text(
                f"{kind:6}  {counts['ok']} ok, {counts['refused']} refused, "
                f"{counts['unknown']} unknown; p50 {_ms(counts['p50_ms'])} ms, "
                f"p99 {_ms(counts['p99_ms'])} ms"
            )
    messages = metrics["messages"]
    assert isinstance(messages, dict)
    yield Text(
        f"messages {messages['sent']} sent, {messages['dropped']} dropped, "
        f"{messages['duplicated']} duplicated; disk syncs {metrics['disk_syncs']}, "
        f"unsynced writes lost {metrics['unsynced_writes_lost']}"
    )
    yield from _availability(metrics)
    faults = metrics["faults"]
    assert isinstance(faults, dict)
    for name, acted in faults.items():
        yield Text(f"fault   {name}: acted {acted} times")


def _availability(metrics: Mapping[str, Json]) -> Iterable[Text]:
    found, ratio = metrics["availability"], metrics["messages_per_operation"]
    assert isinstance(found, dict)
    windows = found["unavailable_windows_ms"]
    assert isinstance(windows, list)
    parts = []
    for text, share in (("of requests", found["requests"]), ("of the time", found["time"])):
        if isinstance(share, int | float):
            parts.append(f"{100 * share:.1f} % {text}")
    if parts:
        yield Text(f"available {', '.join(parts)}; {len(windows)} windows of unavailability")
    if isinstance(ratio, int | float):
        yield Text(f"messages between nodes for each answered request: {ratio:.1f}")


def _ms(value: Json) -> str:
    return f"{value:.1f}" if isinstance(value, int | float) else "-"
