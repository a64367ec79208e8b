"""The screen of `qcore top`, from its figures. Texts of nodes never become markup or control codes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from qcore.cli.top.top_samples import ClusterFigures, MemberRow
from qcore.display import escape_unprintable

#: The panels by their key, in the order of the screen.
PANELS: Final = {
    "m": "members",
    "r": "rates",
    "h": "leaders and membership changes",
    "l": "log lines",
}
_KEYS: Final = "q quit · p pause · m members · r rates · h leaders, changes · l log lines · ? keys"
_ROLES: Final = {"leader": "bold cyan", "candidate": "yellow", "pre_candidate": "yellow"}
_LEVELS: Final = {"warning": "yellow", "error": "bold red"}
#: A longer state takes the place of no other column.
_STATE_WIDTH: Final = 32
#: From this width on, log lines show the term and the role of the node.
_WIDE: Final = 100
#: The most leaders and changes that are shown, each.
_MOST_CHANGES: Final = 4


def screen(
    figures: ClusterFigures,
    *,
    panels: Iterable[str] = PANELS,
    width: int = 100,
    height: int = 30,
    is_paused: bool = False,
    shows_keys: bool = False,
) -> RenderableType:
    """The screen.

    Args:
        figures: what it shows.
        panels: the keys of `PANELS` that are shown.
        width, height: of the terminal, in characters.
        is_paused: whether the figures stand still.
        shows_keys: whether the last line explains the keys.
    """
    shown = [panel for panel in PANELS if panel in set(panels)]
    parts: list[RenderableType] = [_heading(figures, is_paused)]
    used = 1
    if figures.older:
        names = ", ".join(map(str, figures.older))
        text = f"of an older version, without rates, leaders and log lines: node {names}"
        parts.append(_line(text, "yellow"))
        used += 1
    for panel in shown:
        if panel == "m":
            parts += ["", _members(figures.members, width)]
            used += 2 + len(figures.members)
        elif panel == "r":
            parts += ["", _rates(figures)]
            used += 7
        elif panel == "h":
            lines = _history(figures)
            parts += ["", *lines]
            used += 1 + len(lines)
        else:
            room = max(3, height - used - 2 - shows_keys)
            parts += ["", *_log_lines(figures, room, with_role=width >= _WIDE)]
    if shows_keys:
        parts.append(_line(_KEYS, "dim"))
    return Group(*parts)


def _line(text: str, style: str = "") -> Text:
    return Text(escape_unprintable(text), style=style, no_wrap=True, overflow="ellipsis")


def _heading(figures: ClusterFigures, is_paused: bool) -> Text:
    up = sum(each.is_up for each in figures.members)
    name = "no cluster yet" if figures.cluster_id is None else f"cluster {figures.cluster_id[:8]}"
    if figures.leader is not None:
        leads = f"node {figures.leader} leads term {figures.term}"
    else:
        answers = any(each.term is not None for each in figures.members)
        leads = "no member knows a leader" if answers else "no node answers"
    if figures.leader_says is not None:
        leads += f", says node {figures.leader_says}"
    clock = "paused" if is_paused else time.strftime("%H:%M:%S")
    text = _line(f"{name} · {leads} · {up} of {len(figures.members)} members up · {clock}", "bold")
    if is_paused:
        text.stylize("reverse", len(text) - len(clock))
    return text


def _table(*columns: str, numbers: Iterable[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in numbers else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    return table


def _members(rows: Sequence[MemberRow], width: int) -> Table:
    """The members. A narrow terminal shows fewer columns; the state is always there."""
    columns = {
        "NODE": [str(each.node) for each in rows],
        "ADDRESS": [each.address for each in rows],
        "ROLE": [each.role for each in rows],
        "TERM": [_number(each.term) for each in rows],
        "COMMIT": [_number(each.commit) for each in rows],
        "APPLIED": [_number(each.applied) for each in rows],
        "LAG": [_lag(each) for each in rows],
        "WAIT": [_number(each.waiting) for each in rows],
        "DISK": [_bytes(each.disk_free_bytes) for each in rows],
        "MEMORY": [_bytes(each.memory_bytes) for each in rows],
        "CLIENTS": [_number(each.clients) for each in rows],
        "UP FOR": [duration_text(each.uptime_s) for each in rows],
        "STATE": [each.state for each in rows],
    }
    widths = {name: max(map(len, (name, *texts))) for name, texts in columns.items()}
    widths["STATE"] = min(widths["STATE"], _STATE_WIDTH)
    for column in ("APPLIED", "CLIENTS", "WAIT", "DISK", "MEMORY", "UP FOR", "ADDRESS"):
        if sum(widths.values()) + 2 * len(widths) > width:
            del columns[column], widths[column]
    numbers = {*columns} - {"NODE", "ADDRESS", "ROLE", "STATE"}
    table = _table(*columns, numbers=numbers)
    spare = width - sum(widths.values()) - 2 * len(widths) + widths["STATE"]
    for made, name in zip(table.columns, columns, strict=True):
        made.min_width = min(widths[name], spare) if name == "STATE" else widths[name]
        made.max_width = max(spare, 5) if name == "STATE" else widths[name]
    for place, row in enumerate(rows):
        state_style = "green" if row.is_up else "bold red"
        styles = {"ROLE": _ROLES.get(row.role, ""), "STATE": state_style}
        table.add_row(
            *(_line(texts[place], styles.get(name, "")) for name, texts in columns.items()),
            style="" if row.is_up else "dim",
        )
    return table


def _rates(figures: ClusterFigures) -> Table:
    rates = figures.rates
    table = _table(
        "", "PER SECOND", "MEDIAN, MS", "P99, MS", numbers=("PER SECOND", "MEDIAN, MS", "P99, MS")
    )
    for name, rate, half, most in (
        ("reads", rates.reads, rates.read_p50, rates.read_p99),
        ("writes", rates.writes, rates.write_p50, rates.write_p99),
        ("refused or unknown", rates.failed, None, None),
        ("entries committed", rates.committed, None, None),
        ("applied, slowest member", rates.applied, None, None),
        ("log writes to disk", None, rates.commit_p50, rates.commit_p99),
    ):  # fmt: skip
        style = "bold red" if name == "refused or unknown" and rates.failed else ""
        table.add_row(*(_line(text, style) for text in (name, *map(_figure, (rate, half, most)))))
    return table


def _history(figures: ClusterFigures) -> list[Text]:
    found = [
        (event["t_us"], f"node {event['leader']} leads term {event['term']}")
        for event in figures.leaders[:_MOST_CHANGES]
    ]
    for event in figures.changes[:_MOST_CHANGES]:
        voters = ", ".join(map(str, event["voters"]))
        learners = ", ".join(map(str, event["learners"]))
        text = f"voters {voters}"
        if event.get("voters_outgoing"):
            text += f"; with the old voters {', '.join(map(str, event['voters_outgoing']))}"
        text += f"; learners {learners}" if learners else ""
        found.append((event["t_us"], f"{text} (index {event['index']})"))
    if not found:
        return [_line("no election and no membership change since the start of the nodes", "dim")]
    found.sort(reverse=True)
    return [_line(f"{clock_text(t_us)}  {text}") for t_us, text in found]


def _log_lines(figures: ClusterFigures, room: int, *, with_role: bool) -> list[Text]:
    if not figures.lines:
        why = (
            "only a user that may manage sees the log lines"
            if figures.lines_hidden
            else "no log line"
        )
        return [_line(why, "dim")]
    return [
        _line(line_text(event, with_role=with_role), _LEVELS.get(str(event["level"]), "dim"))
        for event in figures.lines[:room]
    ]


def line_text(event: Mapping[str, Any], *, with_role: bool = True) -> str:
    """A log line: time, node, its term and role at that time, level, text and fields."""
    fields = "".join(f" {key}={_field(value)}" for key, value in event["fields"].items())
    more = f" ({event['more']} more like this)" if "more" in event else ""
    where = f"{clock_text(event['t_us'])}  node {event['node']}"
    if with_role and "role" in event:  # not from an older version
        where += f" term {event['term']} {event['role']:<8}"
    where += f" {event['level']:<7}"
    return f"{where} {event['text']}{fields}{more}"


def _field(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return value if isinstance(value, str) else json.dumps(value)


def clock_text(t_us: int) -> str:
    """The time of day here."""
    return (
        f"{time.strftime('%H:%M:%S', time.localtime(t_us // 1_000_000))}.{t_us // 1000 % 1000:03d}"
    )


def duration_text(seconds: float | None) -> str:
    """A duration in its largest unit."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _lag(row: MemberRow) -> str:
    if row.lag_entries is None:
        return "-"
    if not row.lag_entries or row.lag_ms is None:
        return str(row.lag_entries)
    age = f"{row.lag_ms} ms" if row.lag_ms < 10_000 else duration_text(row.lag_ms / 1000)
    return f"{row.lag_entries} ({age})"


def _number(number: int | None) -> str:
    return "-" if number is None else str(number)


def _figure(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number:.0f}" if number >= 100 or not number else f"{number:.1f}"


def _bytes(number: float | None) -> str:
    if number is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
