"""Faults in words: a trace notes the settings of a scenario, and a reader wants units."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from qcore.analysis.course.voting.short_texts import joined

#: A setting of links at the begin of a note, or after a comma.
_SETTING: Final = re.compile(
    r"(?:^|, )(latency_ms|loss|duplicate|reorder|reorder_extra_ms|corrupt|bandwidth(?:_bytes_per_s)?|queue_length) "
)
_FIELD: Final = re.compile(r"(\w+)=('[^']*'|[^ ]+)")
_CLOCK: Final = re.compile(r"offset (\S+) ms, drift (\S+) ppm")
_JUMP: Final = re.compile(r"jump by (.+)")
_FREE: Final = re.compile(r"(\d+) bytes are free")
_NOTHING: Final = "None"


def fault_words(note: str) -> str:
    """The note of a fault in words, with units. One that holds no settings stays as it is.

    Args:
        note: the note in the trace.
    """
    if _SETTING.match(note):
        _, *parts = _SETTING.split(note)
        return ", ".join(
            _setting(name, value) for name, value in zip(parts[::2], parts[1::2], strict=True)
        )
    if clock := _CLOCK.fullmatch(note):
        return _clock(*clock.groups())
    if jump := _JUMP.fullmatch(note):
        return f"jumps by {joined(jump[1].split(', '))}"
    if free := _FREE.fullmatch(note):
        return f"{int(free[1]):,} bytes are free"
    return note


def fault_name(name: str) -> str:
    """The name of a fault without its place in the scenario: `timeline[0] disk_stall` is `disk stall`."""
    return (name.partition("] ")[2] or name).replace("_", " ")


def fault_label(name: str, note: str, nodes: tuple[int, ...], *, changes_links: bool) -> str:
    """A short text for a fault, for example `partition 1,2 | 3,4,5` or `disk stall node 4`.

    Args:
        name, note, nodes: its name, its note and its nodes in the trace.
        changes_links: whether the note lists settings of links.
    """
    what, words = fault_name(name), fault_words(note)
    if changes_links:
        return words if what in ("links", "network") else f"{what}: {words}"
    if "|" in note:
        return f"{what} {note}"
    if nodes:
        what = f"{what} node{'s' if len(nodes) > 1 else ''} {','.join(map(str, nodes))}"
    return what if words == note else f"{what}: {words}"


def _setting(name: str, value: str) -> str:
    if value == _NOTHING:
        return f"{name.partition('_')[0]} as before"
    words = _SETTINGS.get(name)
    try:
        return f"{name} {value}" if words is None else words(value)
    except (KeyError, ValueError):  # another version wrote it
        return f"{name} {value}"


def _share(done: str) -> Callable[[str], str]:
    return lambda value: f"{float(value) * 100:g} % {done}"


def _bandwidth(value: str) -> str:
    return f"bandwidth {float(value):,.0f} bytes/s"


_SETTINGS: Final[Mapping[str, Callable[[str], str]]] = {
    "latency_ms": lambda value: f"latency {_duration(value)}",
    "loss": _share("lost"),
    "duplicate": _share("duplicated"),
    "reorder": _share("reordered"),
    "reorder_extra_ms": lambda value: f"reordered messages take {_duration(value)} longer",
    "corrupt": _share("damaged"),
    "bandwidth": _bandwidth,
    "bandwidth_bytes_per_s": _bandwidth,
    "queue_length": lambda value: f"queues of {float(value):,.0f} messages",
}


def _duration(text: str) -> str:
    """A distribution of durations, as `qcore.sim.scenario.distributions` prints it."""
    fields = {name: value.strip("'") for name, value in _FIELD.findall(text)}
    first, second = float(fields.get("first", 0)), float(fields.get("second", 0))
    low, high = float(fields.get("min_ms", 0)), float(fields.get("max_ms", "inf"))
    limits = f", at least {low:g} ms" if low else ""
    limits += f", at most {high:g} ms" if high != float("inf") else ""
    match fields["shape"]:
        case "fixed":
            words = f"{first:g} ms"
        case "uniform":
            words = f"{first:g} to {second:g} ms" if first != second else f"{first:g} ms"
        case "normal":
            words = f"{first:g} ± {second:g} ms"
        case "lognormal":
            words = f"around {first:g} ms (log-normal, sigma {second:g})"
        case "exponential":
            words = f"{first:g} ms on average"
        case "pareto":
            words = f"from {first:g} ms on (heavy tail, alpha {second:g})"
        case "samples":
            words = "as measured"
        case _:
            raise ValueError(fields["shape"])
    return words + limits


def _clock(offset: str, drift: str) -> str:
    parts: list[str] = []
    if offset != _NOTHING:
        ms = float(offset)
        parts.append(f"{abs(ms):g} ms {'behind' if ms < 0 else 'ahead'}")
    if drift != _NOTHING and float(drift):
        ppm = float(drift)
        parts.append(f"runs {abs(ppm):,g} ppm {'slow' if ppm < 0 else 'fast'}")
    return ", ".join(parts) or "as it was"
