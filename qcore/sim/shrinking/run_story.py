"""Comments for the timeline of a small scenario: what happens in its run before, between and after the steps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from qcore.sim.artifacts.failure_cause import headline
from qcore.sim.shrinking.candidate_values import Values, number_at
from qcore.trace import TraceRecord

#: The most comments between two steps. The first and the last ones count.
_MOST_LINES: Final = 6
_MOST_CHARACTERS: Final = 110
_ITEM: Final = "  - {"
#: How `Scenario.to_yaml` writes a timeline without steps.
_NO_ITEMS: Final = "timeline: []"
#: The place of an item in the names of its faults.
_PLACE: Final = re.compile(r"timeline\[(\d+)\] (.*)")


@dataclass(slots=True, frozen=True)
class StoryEvent:
    """Something that a reader of the scenario should know: its time in milliseconds, and a text."""

    at_ms: float
    text: str


def story_of(records: Iterable[TraceRecord], items: list[Values]) -> list[StoryEvent]:
    """What the run shows beside its steps: votes, leaders, commits, faults that wait for an event, violations."""
    found: list[StoryEvent] = []
    highest = 0
    violated: list[str] = []
    for record in records:
        at_ms, node, fields = record.t_us / 1000, record.node, record.fields
        text = ""
        if record.kind == "role" and fields["role"] == "leader":
            text = f"node {node} leads term {fields['term']}"
        elif record.kind == "vote" and fields["candidate"] != node:
            text = f"node {node} votes for {fields['candidate']} in term {fields['term']}"
        elif record.kind == "commit" and fields["index"] > highest and at_ms:
            highest = fields["index"]
            text = f"node {node} commits up to index {highest}"
        elif record.kind == "fault" and fields["phase"] in ("begin", "end"):
            text = _fault(fields["fault"], fields["phase"], items)
        elif record.kind == "violation" and fields["check"] not in violated:
            violated.append(fields["check"])
            text = f"{fields['check']}: {headline(fields['note'])}"
        if text:
            found.append(StoryEvent(at_ms, _cut(text)))
    return found


def with_comments(text: str, items: list[Values], story: list[StoryEvent]) -> str:
    """The text of a scenario with the story as comments between the items of its timeline.

    Args:
        text: as `Scenario.to_yaml` writes it.
        items: the items of the timeline.
        story: the events, in the order of time.
    """
    lines: list[str] = []
    waiting = list(story)
    number = 0
    in_timeline = False
    for line in text.splitlines():
        if in_timeline and line.startswith(_ITEM):
            item = items[number]
            number += 1
            if "when" not in item:
                at_ms = number_at(item, "at_ms")
                lines += _comments([event for event in waiting if event.at_ms < at_ms])
                waiting = [event for event in waiting if event.at_ms >= at_ms]
        elif in_timeline:
            lines += _comments(waiting)
            in_timeline = False
        in_timeline = in_timeline or line == "timeline:"
        lines.append(line)
        if line == _NO_ITEMS:
            lines += _comments(waiting)
    if in_timeline:
        lines += _comments(waiting)
    return "\n".join(lines) + "\n"


def _fault(name: str, phase: str, items: list[Values]) -> str:
    """A fault that waits for an event, or the end of one: the item alone does not say when that is."""
    match = _PLACE.fullmatch(name)
    if match is None or int(match[1]) >= len(items):
        return ""
    item = items[int(match[1])]
    if phase == "begin":
        return f"{match[2]} acts" if "when" in item else ""
    return f"{match[2]} ends" if "for_ms" in item else ""


def _comments(events: list[StoryEvent]) -> Iterator[str]:
    """The events as comments; the middle of many is left out."""
    half = _MOST_LINES // 2
    shown = events if len(events) <= _MOST_LINES else [*events[:half], *events[-half:]]
    for number, event in enumerate(shown):
        if number == half and len(events) > _MOST_LINES:
            yield f"  # ... {len(events) - _MOST_LINES} more ..."
        yield f"  # {event.at_ms:g} ms: {event.text}"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 3]}..."
