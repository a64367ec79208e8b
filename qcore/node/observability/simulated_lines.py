"""Leaves out the log lines of simulated nodes and clients. Those of real ones in the same process stay."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

_LOGGERS: Final = ("qcore.transport", "qcore.transport.websockets", "qcore.client", "asyncio")

TakeLine = Callable[[str, BaseException | None], bool]


class _NotSimulated(logging.Filter):
    """Passes the lines of the real world.

    Args:
        take: see `leave_out_lines`.
    """

    def __init__(self, take: TakeLine) -> None:
        super().__init__()
        self._take = take

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to keep a line."""
        error = record.exc_info[1] if record.exc_info else None
        return not self._take(str(record.msg), error)


def leave_out_lines(take: TakeLine) -> None:
    """Leave out the lines of simulated code. A second call changes nothing.

    Args:
        take: called with the text of each line and the error whose traceback it has; returns whether simulated code
            runs now. A line with an error is one about a bug.
    """
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, _NotSimulated) for each in logger.filters):
            logger.addFilter(_NotSimulated(take))
