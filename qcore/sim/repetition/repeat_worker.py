"""The second process of `repeat_run`: runs one scenario, and writes its trace and its verdict to files.

It is started as `python -m qcore.sim.repetition.repeat_worker DIRECTORY`. What a user's code prints does not matter.
"""

from __future__ import annotations

import faulthandler
import pickle
import sys
from pathlib import Path

from qcore.sim.repetition.repeat_messages import (
    ANSWER_FILE,
    REQUEST_FILE,
    STACK_FILE,
    TRACE_FILE,
    RepeatAnswer,
    RepeatRequest,
)
from qcore.sim.run import run_scenario


def main(directory: Path) -> None:
    """Run what the directory asks for."""
    with open(directory / STACK_FILE, "w", encoding="utf-8") as stack:
        request = pickle.loads((directory / REQUEST_FILE).read_bytes())
        assert isinstance(request, RepeatRequest), "the first process writes nothing else"
        sys.path[:] = request.path
        faulthandler.dump_traceback_later(request.limit_s, exit=True, file=stack)
        try:
            result = run_scenario(request.scenario, request.seed, trace=directory / TRACE_FILE)
            answer = RepeatAnswer(result)
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            answer = RepeatAnswer(None, f"{type(error).__name__}: {error}")
        faulthandler.cancel_dump_traceback_later()
    (directory / ANSWER_FILE).write_bytes(pickle.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
