"""`Cause`: why a run failed, in a form that groups the failures of many runs."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from qcore.display import truncate
from qcore.sim.verdict.result import RunResult

#: The most characters of the text of a cause.
_MAX_TEXT: Final = 300
#: The expectation that fails if and only if a violation was found that the scenario does not ask for.
_SAFE: Final = "safe"
#: Expectations with the name of a check. They also fail if their judge raised an error, or found nothing to judge.
_JUDGES: Final = ("invariant", "check", "model", "consistency", "set_elements", "append_order")
_ALWAYS: Final = "always: "
#: What the explanation of a sequential model writes before the answer that does not fit.
_DOES_NOT_FIT: Final = ", and this does not fit: "
#: What the key of a run begins with that raised an error, or did not end.
_ERROR: Final = "error"


@dataclass(slots=True, frozen=True)
class Cause:
    """Why a run failed.

    Attributes:
        key: groups failures: the first violated check; without one, the first failed expectation; `error:<Type>` if
            the run raised an error. `undecided:<check>` if a check could not judge the run, which is another failure
            than a violation of it. The key has no numbers of the single run in it.
        text: what was seen in this run, on one line.
    """

    key: str
    text: str


def cause_of(result: RunResult) -> Cause | None:
    """Why a run failed; None for a run that passed.

    Violations that the scenario asks for (`expect: {safe: false}`) are no cause.
    """
    failed = result.failed()
    if not failed:
        return None
    if result.violations and any(expectation.name == _SAFE for expectation in failed):
        first = result.violations[0]
        return Cause(first.check, headline(first.note))
    expectation = failed[0]
    seen = expectation.seen.partition("\n")[0]
    name = expectation.name
    key = f"undecided:{name}" if name in _JUDGES or name.startswith(_ALWAYS) else name
    return Cause(key, _one_line(f"expected {expectation.expected}; seen {seen}"))


def headline(note: str) -> str:
    """What a violation's note says in one line.

    A note may begin with what fits, and go on to what does not fit. Then the line has what does not fit.
    """
    first, _, rest = note.partition("\n")
    wrong = rest.partition(_DOES_NOT_FIT)[2]
    if not wrong:
        return _one_line(first)
    why, *lines = wrong.splitlines()
    shown: list[str] = []
    for line in lines:  # the request, indented; the answers of the model, indented further
        if not line.startswith(" " * (4 if shown else 2)):
            break
        shown.append(line.strip())
    return _one_line(f"{why}: {'; '.join(shown)}" if shown else why)


def cause_of_error(error: BaseException) -> Cause:
    """Why a run failed that raised an error, with the line that raised it."""
    try:
        text = str(error)
    except Exception as raised:  # noqa: BLE001 - the error's class may be user code
        text = f"its text raised {type(raised).__name__}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({PurePath(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return cause_named(type(error).__name__, f"{text}{place}")


def cause_named(kind: str, text: str) -> Cause:
    """The cause of a run that has no verdict: `kind` says what became of it."""
    return Cause(f"{_ERROR}:{kind}", _one_line(text))


def _one_line(text: str) -> str:
    return truncate(" ".join(text.split()), _MAX_TEXT)
