"""What a scenario asks of the order that must explain all answers."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from qcore.sim.scenario.values import ConsistencyLevel


class LevelRules(NamedTuple):
    """The rules of one level.

    Attributes:
        check: the name of its violation.
        scope: whose operations must keep the order of their times: those of `all` clients together, those of each
            `client`, or `none`.
        meaning: for explanations.
    """

    check: str
    scope: Literal["all", "client", "none"]
    meaning: str


LEVELS: Final[dict[ConsistencyLevel, LevelRules]] = {
    "linearizable": LevelRules(
        "linearizability",
        "all",
        "a request that was answered before another one began comes before it",
    ),
    "sequential": LevelRules(
        "sequential_consistency",
        "client",
        "the requests of each client come in the order in which it sent them",
    ),
    "serializable": LevelRules("serializability", "none", "any order is allowed"),
}
