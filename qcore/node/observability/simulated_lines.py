"""Leaves out the log lines of simulated nodes and clients. Those of real ones in the same process stay."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

_LOGGERS: Final = ("qcore.transport", "qcore.transport.websockets", "qcore.client", "asyncio")


class _NotSimulated(logging.Filter):
    """Passes the lines of the real world.

    Args:
        is_simulated: whether simulated code runs now.
    """

    def __init__(self, is_simulated: Callable[[], bool]) -> None:
        super().__init__()
        self._is_simulated = is_simulated

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to keep a line."""
        return not self._is_simulated()


def leave_out_lines(is_simulated: Callable[[], bool]) -> None:
    """Leave out the lines that are logged while `is_simulated()`. A second call changes nothing."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, _NotSimulated) for each in logger.filters):
            logger.addFilter(_NotSimulated(is_simulated))
