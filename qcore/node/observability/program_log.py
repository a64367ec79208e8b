"""`ProgramLog`: the log of a node within another program, which has its own configuration of `logging`."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from qcore.errors import DetailValue
from qcore.node.observability.logs import NodeLog, log_text
from qcore.node.observability.repeated_lines import RepeatLimiter

_LEFT_OUT: Final = "lines left out"


class ProgramLog(NodeLog):
    """Logs through the logger `qcore.node`, and changes no handler and no level.

    A record's message holds the fields, because the program's formatter does not know them:
    `node=1 term=3 role=leader listening addr=127.0.0.1:8080`. Lines that repeat are counted, as in `NodeLog`.
    """

    def __init__(self, node_id: int) -> None:
        super().__init__(node_id)
        self._repeats: RepeatLimiter[tuple[int, str]] = RepeatLimiter()
        self._lock = threading.Lock()  # the writer of the trace logs from its own thread

    def put(self, level: int, event: str, fields: dict[str, DetailValue]) -> None:
        """Log at this level, or only count the line. Debug lines are always logged."""
        self.activity.line(level, event, fields)
        if not self.logger.isEnabledFor(level):
            return
        more = 0
        if level > logging.DEBUG:
            with self._lock:
                admitted = self._repeats.admit((level, event), time.monotonic())
            if admitted is None:
                return
            more = admitted
        if more:
            fields = {**fields, "more_like_this": more}
        # The record names the place that logs: the caller of `info`, `warning` and so on.
        self.logger.log(level, "%s", log_text(self, event, fields), stacklevel=3)

    def bug(self, event: str, error: BaseException) -> None:
        """Log at level error, with the traceback."""
        self.activity.line(logging.ERROR, event, {"why": f"{type(error).__name__}: {error}"})
        self.logger.error("%s", log_text(self, event, {}), exc_info=error, stacklevel=2)

    def report_suppressed(self, *, all_of_them: bool = False) -> None:
        """Log how many lines were left out of each kind that has ended, or of all kinds."""
        with self._lock:
            counts = (
                self._repeats.all_suppressed()
                if all_of_them
                else self._repeats.ended_kinds(time.monotonic())
            )
        for (level, event), number in counts:
            self.logger.log(
                level, "%s", log_text(self, _LEFT_OUT, {"like": event, "number": number})
            )
