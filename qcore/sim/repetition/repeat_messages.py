"""What the first process of `repeat_run` asks of the second one, and the answer; and the files that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qcore.sim.scenario.model import Scenario
from qcore.sim.verdict.result import RunResult

REQUEST_FILE: Final = "request.pickle"
ANSWER_FILE: Final = "answer.pickle"
TRACE_FILE: Final = "second.qtrace"
#: Where the process was when its time was over, as `faulthandler` writes it.
STACK_FILE: Final = "stack.txt"


@dataclass(slots=True, frozen=True)
class RepeatRequest:
    """What the second process shall run.

    Attributes:
        scenario, seed: the run.
        path: where Python looks for modules.
        limit_s: the process ends itself after so many seconds.
    """

    scenario: Scenario
    seed: int
    path: tuple[str, ...]
    limit_s: float


@dataclass(slots=True, frozen=True)
class RepeatAnswer:
    """What became of the run: a verdict, or the type and the text of an error."""

    result: RunResult | None
    error: str = ""
