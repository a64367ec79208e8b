"""What happens when a user's function ends the process in the middle of a run: the run fails, with the place."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import PurePath
from typing import ParamSpec, TypeVar

from qcore.errors import ConfigError

_P = ParamSpec("_P")
_R = TypeVar("_R")


def refuses_exit(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """A function in which `sys.exit` of a user's code becomes a `ConfigError`.

    A machine or check that calls `sys.exit(0)` would end `qcore sim run` with the exit code of a run that passed.
    """

    @wraps(function)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except SystemExit as ended:
            frames = traceback.extract_tb(ended.__traceback__)
            places = [
                f"{PurePath(each.filename).name}:{each.lineno} in {each.name}" for each in frames
            ]
            raise ConfigError(
                f"{places[-1]}: SystemExit ended the run before its verdict: state machines, checks and programs must "
                "not end the process; raise an error instead"
            ) from ended

    return guarded
