"""Finds uses of the actions in the shipped scenarios, as examples for docs/scenarios.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from qcore.sim.scenario.actions.registry import ACTIONS
from qcore.yaml_reader import parse_yaml, to_python
from tests.checkout import SCENARIOS

#: The most examples of one key.
_MOST = 2
#: A longer example does not fit on a line.
_MAX_CHARACTERS = 100


@dataclass(frozen=True, slots=True, order=True)
class Example:
    """One use of an action: its YAML, and the name of the file."""

    text: str
    file: str


def examples_of_actions() -> dict[str, list[Example]]:
    """For each key of an action its shortest use in a shipped scenario, and the one with the most keys."""
    uses: dict[str, list[Example]] = {}
    for path in sorted(SCENARIOS.glob("*.yaml")):
        raw = to_python(parse_yaml(path.read_text(encoding="utf-8"), path.name, number_keys=True))
        for key, value in actions_in(raw):
            text = f"{key}: {flow(value)}"
            if len(text) <= _MAX_CHARACTERS:
                uses.setdefault(key, []).append(Example(text, path.name))
    return {key: _chosen(found) for key, found in uses.items()}


def _chosen(found: list[Example]) -> list[Example]:
    shortest = min(found, key=lambda example: (len(example.text), example))
    fullest = max(found, key=lambda example: (example.text.count(":"), example))
    return list(dict.fromkeys([shortest, fullest]))[:_MOST]


def actions_in(value: object) -> Iterator[tuple[str, object]]:
    """Every action of the timeline and of the random faults of a scenario."""
    if not isinstance(value, Mapping):
        return
    faults = value.get("random_faults")
    items = [
        *(value.get("timeline") or []),
        *(faults["faults"] if isinstance(faults, dict) else []),
    ]
    for item in items:
        blocks = [item]
        for key in ("do", "one_of"):
            more = item.get(key) or []
            blocks += more if isinstance(more, list) else [more]
        for block in blocks:
            yield from ((key, inner) for key, inner in block.items() if key in ACTIONS)


def flow(value: object) -> str:
    """A value in the flow style of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e6 else str(int(value))
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.-]*", value):
        return value
    return json.dumps(value, ensure_ascii=False)
