"""`RunSize`: how large a run is, by all that a reader of its scenario or its trace must understand."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.sim.shrinking.candidate_values import Values, actions_of, timeline_of

#: Parts of a scenario that are no settings, or that `RunSize` counts separately.
_NOT_SETTINGS = ("name", "summary", "timeline", "until_ms")


@dataclass(slots=True, frozen=True)
class RunSize:
    """The size of a run.

    Attributes:
        nodes: the nodes, with those that join later.
        steps: the actions of the timeline. Two actions of one item are two steps.
        clients: the clients.
        operations: what the clients and the timeline asked.
        messages: what the nodes sent to each other.
        until_ms: the length of the run, in simulated milliseconds.
        settings: the single values that the scenario gives, except for its timeline.
    """

    nodes: int
    steps: int
    clients: int
    operations: int
    messages: int
    until_ms: float
    settings: int

    def __str__(self) -> str:
        return (
            f"{_count(self.nodes, 'node')}, {_count(self.steps, 'step')}, {_count(self.clients, 'client')}, "
            f"{_count(self.operations, 'operation')}, {_count(self.messages, 'message')}, {self.until_ms:g} ms, "
            f"{_count(self.settings, 'setting')}"
        )


def count_steps(values: Values) -> int:
    """The actions of the timeline."""
    return sum(len(actions_of(item)) for item in timeline_of(values))


def count_settings(values: Values) -> int:
    """The single values that a scenario gives, except for its timeline."""
    return sum(_leaves(value) for key, value in values.items() if key not in _NOT_SETTINGS)


def _leaves(value: object) -> int:
    if isinstance(value, dict):
        return sum(_leaves(inner) for inner in value.values())
    return 1


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
