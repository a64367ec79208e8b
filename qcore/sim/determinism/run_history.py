"""What the state machines of one run did: the commands with their contexts and results, the queries and answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from qcore.machines.interface import ApplyContext


@dataclass(slots=True)
class AppliedCommand:
    """A command of the log and the context in which it was applied; see `ApplyContext`."""

    command: str
    index: int
    time_us: int
    version: int
    clock_us: int
    rules: int

    def context(self) -> ApplyContext:
        """A fresh context, equal to that of the run."""
        return ApplyContext(self.index, self.time_us, self.version, self.clock_us, self.rules)


@dataclass(slots=True)
class History:
    """The commands of a run in order, and its queries. A position counts commands from 0.

    Attributes:
        commands: the commands, by index.
        queries: the queries that some node answered right after the command at a position.
        results: the results of the node that applied each command first.
        answers: the answers of the node that was asked first, like `queries`.
    """

    commands: list[AppliedCommand] = field(default_factory=list)
    queries: dict[int, list[str]] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)
    answers: dict[int, list[str]] = field(default_factory=dict)


def as_text(result: object) -> str:
    """A result as text, for comparison: also one that breaks the contract."""
    if not isinstance(result, str):
        return f"no text, but {type(result).__name__}"
    return result if type(result) is str else str.__str__(result)
