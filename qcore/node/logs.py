"""Structured logs on stderr, as text or JSON: every line names node, term and role.

    log = NodeLog(node_id=1)
    log.info("listening", addr="127.0.0.1:8080")
    # 2026-01-31T12:00:00.123Z INFO  node=1 term=3 role=leader listening addr=127.0.0.1:8080

The text of an event is constant and what varies goes into fields, so that logs can be searched.
Whatever a peer or client caused is one line without a traceback.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Final

from qcore.errors import ConfigError, Scalar
from qcore.node.config import LogFormat

LEVELS: Final = ("debug", "info", "warning", "error")
_FIELDS: Final = "qcore_fields"


class NodeLog:
    """The node's logger. `term` and `role` are set by the host as they change."""

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.term = 0
        self.role = "starting"
        self._logger = logging.getLogger("qcore.node")

    def debug(self, event: str, **fields: Scalar) -> None:
        """Log at level debug."""
        self._put(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Scalar) -> None:
        """Log at level info."""
        self._put(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Scalar) -> None:
        """Log at level warning."""
        self._put(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Scalar) -> None:
        """Log at level error."""
        self._put(logging.ERROR, event, fields)

    def _put(self, level: int, event: str, fields: dict[str, Scalar]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", event, extra={_FIELDS: fields})

    def install(self, log_format: LogFormat, level: str) -> None:
        """Send all logging of the process to stderr in this format.

        Raises:
            ConfigError: the level is unknown.
        """
        if level not in LEVELS:
            raise ConfigError(f"--log-level is {level!r}; choose one of {', '.join(LEVELS)}")
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter(self) if log_format == "json" else TextFormatter(self))
        root = logging.getLogger()
        root.handlers[:] = [handler]
        root.setLevel(logging.WARNING)
        logging.getLogger("qcore").setLevel(level.upper())
        # The WebSocket library logs what peers do wrong with tracebacks; the transport names it itself.
        logging.getLogger("websockets").setLevel(logging.CRITICAL + 1)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, node, term, role, event, then the fields."""

    def __init__(self, log: NodeLog) -> None:
        super().__init__()
        self._log = log

    def format(self, record: logging.LogRecord) -> str:
        """The line for one record."""
        line: dict[str, Scalar] = {
            "ts": _timestamp(record.created),
            "level": record.levelname.lower(),
            "node": self._log.node_id,
            "term": self._log.term,
            "role": self._log.role,
            "event": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """`time LEVEL node=1 term=3 role=leader event key=value ...`."""

    def __init__(self, log: NodeLog) -> None:
        super().__init__()
        self._log = log

    def format(self, record: logging.LogRecord) -> str:
        """The line for one record."""
        log = self._log
        fields = "".join(f" {key}={_value(value)}" for key, value in _fields_of(record).items())
        event = record.getMessage().replace("\n", "\\n")
        line = (
            f"{_timestamp(record.created)} {record.levelname:<7} "
            f"node={log.node_id} term={log.term} role={log.role} {event}{fields}"
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _fields_of(record: logging.LogRecord) -> dict[str, Scalar]:
    fields = getattr(record, _FIELDS, None)
    return fields if isinstance(fields, dict) else {}


def _timestamp(created: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))
    return f"{whole}.{int(created * 1000) % 1000:03d}Z"


def _value(value: Scalar) -> str:
    """A field's value, quoted when it would not read as one word."""
    if isinstance(value, str):
        plain = value and all(c.isprintable() and c not in ' "=' for c in value)
        return value if plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return f"{value:.3f}"
    return json.dumps(value)
