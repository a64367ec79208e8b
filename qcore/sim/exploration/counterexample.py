"""`Counterexample`: the steps that break a property, as text and as a file that can be repeated."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qcore.errors import ConfigError
from qcore.release import __version__
from qcore.sim.exploration.bounds import Bounds
from qcore.sim.exploration.small.choices import BUDGET_OF, Choice
from qcore.sim.exploration.small.global_history import Broken
from qcore.sim.exploration.small.small_cluster import SmallCluster, State
from qcore.sim.exploration.small.step_texts import choice_text, message_text, state_lines

#: Version of the file.
FORMAT: Final = 1
_OF_MESSAGES: Final = ("deliver", "duplicate", "drop")


@dataclass(slots=True, frozen=True)
class ExploredStep:
    """One step of a counterexample.

    Attributes:
        choice: what happened. The numbers of messages belong to one exploration.
        message: the message of a delivery, duplicate or loss; else empty.
        text: what happened, in one line.
        nodes: the state of each node after the step, one line each.
        sent: the messages that left in this step, like `message`.
    """

    choice: Choice
    message: str
    text: str
    nodes: tuple[str, ...]
    sent: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Counterexample:
    """The steps from the first state to a broken property.

    Attributes:
        bounds: of the exploration that found it.
        steps: the steps.
        broken: the property that does not hold after the last step.
    """

    bounds: Bounds
    steps: tuple[ExploredStep, ...]
    broken: Broken

    def text(self) -> str:
        """The steps, each with the state of every node after it."""
        lines: list[str] = []
        for number, step in enumerate(self.steps, 1):
            lines.append(f"{number:3}  {step.text}")
            lines += [f"       {line}" for line in step.nodes]
        lines.append(f"     {self.broken.check}: {self.broken.note}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The file's contents."""
        return {
            "format": FORMAT,
            "qcore": __version__,
            "bounds": self.bounds.to_json(),
            "cause": {"key": self.broken.check, "text": self.broken.note},
            "steps": [
                {"do": step.choice.kind, "node": step.choice.node, **_argument(step)}
                for step in self.steps
            ],
        }

    def save(self, path: Path) -> None:
        """Write the file. Folders above it are made.

        Raises:
            ConfigError: the file cannot be written.
        """
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from None


def _argument(step: ExploredStep) -> dict[str, object]:
    if step.message:
        return {"message": step.message}
    return {"argument": step.choice.argument} if step.choice.argument else {}


def counterexample(cluster: SmallCluster, path: list[Choice], broken: Broken) -> Counterexample:
    """The counterexample of a path through the cluster, whose last step breaks the property."""
    state: State = cluster.initial
    steps: list[ExploredStep] = []
    for choice in path:
        message = ""
        if choice.kind in _OF_MESSAGES:
            message = message_text(cluster.steps.messages[choice.argument])
        text = choice_text(cluster, choice)
        sent = [
            message_text(cluster.steps.messages[number]) for number in cluster.sent(state, choice)
        ]
        after = cluster.apply(state, choice)
        if isinstance(after, Broken):
            nodes = state_lines(cluster, cluster.nodes_after(state, choice), choice.node)
        else:
            state = after
            nodes = state_lines(cluster, state, choice.node)
        steps.append(ExploredStep(choice, message, text, tuple(nodes), tuple(sent)))
    return Counterexample(cluster.bounds, tuple(steps), broken)


def repeat(path: Path) -> tuple[Counterexample, bool]:
    """Take the steps of a file again, with the current core.

    Returns:
        The steps as they are now, up to the first broken property, and whether it is the one of the file.

    Raises:
        ConfigError: the file is not a counterexample, or a step is not possible any more.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        bounds = Bounds.from_json(body["bounds"])
        wanted, steps = body["cause"]["key"], list(body["steps"])
        version = body["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is not a counterexample of `qcore sim explore`: {error}"
        ) from None
    if version != FORMAT:
        raise ConfigError(f"{path} has format {version}, this qcore reads {FORMAT}")
    cluster = SmallCluster(bounds)
    state: State = cluster.initial
    taken: list[Choice] = []
    for number, step in enumerate(steps, 1):
        choice = _find(cluster, state, step)
        if choice is None:
            raise ConfigError(
                f"{path}: step {number} is not possible any more: {step}. The core has changed since: explore again"
            )
        taken.append(choice)
        after = cluster.apply(state, choice)
        if isinstance(after, Broken):
            return counterexample(cluster, taken, after), after.check == wanted
        state = after
    raise ConfigError(
        f"{path}: no property is broken after its {len(steps)} steps. The core has changed since: explore again"
    )


def _find(cluster: SmallCluster, state: State, step: dict[str, Any]) -> Choice | None:
    """The choice in this state that a step of a file describes."""
    kind, node = step.get("do"), step.get("node")
    if kind not in BUDGET_OF or not isinstance(node, int):
        return None
    for number in cluster.choices(state):
        choice = cluster.steps.choices[number]
        if (choice.kind, choice.node) != (kind, node):
            continue
        if kind in _OF_MESSAGES:
            if message_text(cluster.steps.messages[choice.argument]) == step.get("message"):
                return choice
        elif choice.argument == step.get("argument", 0):
            return choice
    return None
