"""`NodeLog`: structured log lines on stderr or in a file, as text or JSON. Every line names node, term and role.

    log = NodeLog(node_id=1)
    log.info("listening", addr="127.0.0.1:8080")
    # 2026-01-31T12:00:00.123Z INFO  node=1 term=3 role=leader listening addr=127.0.0.1:8080

The text of an event is constant and variable parts go into fields, so logs can be searched. An event that a peer or
client caused is one line without a traceback. Texts are truncated and their control characters escaped
(`qcore.display`). Lines that repeat are counted (`qcore.node.observability.repeated_lines`). Logging never waits for a
slow reader (`qcore.node.observability.line_writer`).
"""

from __future__ import annotations

import atexit
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TextIO

from qcore.display import MAX_SENTENCE_CHARS, escape_unprintable, printable, truncate
from qcore.errors import ConfigError, DetailValue
from qcore.files import open_to_append
from qcore.node.activity_log import ActivityLog
from qcore.node.config import LogFormat
from qcore.node.observability.line_writer import LineWriter
from qcore.node.observability.repeated_lines import RepeatLimiter

LEVELS: Final = ("debug", "info", "warning", "error")
_FIELDS: Final = "qcore_fields"
#: The most bytes of lines that wait to be written, for stdout and stderr each.
_MAX_QUEUED_BYTES: Final = 1024 * 1024
#: The most lines of a traceback. Its end is kept, which is the most useful part.
_MAX_TRACEBACK_LINES: Final = 100
#: How long the process waits for its last lines before it ends, seconds.
FINAL_FLUSH_S: Final = 0.5
#: The kind of a line: its logger, level and text.
_Kind = tuple[str, int, str]


class NodeLog:
    """The node's logger. The node sets `term` and `role` as they change.

    Attributes:
        activity: the newest lines and changes, in memory.
    """

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.term = 0
        self.role = "starting"
        self.activity = ActivityLog()
        self.logger = logging.getLogger("qcore.node")
        self._handler: LineHandler | None = None
        self._path: Path | None = None

    def debug(self, event: str, **fields: DetailValue) -> None:
        """Log at level debug."""
        self.put(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: DetailValue) -> None:
        """Log at level info."""
        self.put(logging.INFO, event, fields)

    def warning(self, event: str, **fields: DetailValue) -> None:
        """Log at level warning."""
        self.put(logging.WARNING, event, fields)

    def error(self, event: str, **fields: DetailValue) -> None:
        """Log at level error."""
        self.put(logging.ERROR, event, fields)

    def bug(self, event: str, error: BaseException) -> None:
        """Log at level error, with the traceback."""
        self.activity.line(logging.ERROR, event, {"why": f"{type(error).__name__}: {error}"})
        self.logger.error(event, exc_info=error)

    def put(self, level: int, event: str, fields: dict[str, DetailValue]) -> None:
        """Log at this level."""
        self.activity.line(level, event, fields)
        if self.logger.isEnabledFor(level):
            self.logger.log(level, event, extra={_FIELDS: fields})

    def install(self, log_format: LogFormat, level: str, path: Path | None = None) -> None:
        """Send all log records and warnings of the process to stderr or to a file in this format.

        After this call, writing to stdout and stderr never blocks: see `redirect_output`.

        Args:
            log_format: the format of a line.
            level: the lowest level that is logged.
            path: the file, to which lines are appended; None for stderr.

        Raises:
            ConfigError: the level is unknown, or the file cannot be opened.
        """
        formatter = JsonFormatter(self) if log_format == "json" else TextFormatter(self)
        if level not in LEVELS:
            raise ConfigError(f"--log-level is {level!r}; choose one of {', '.join(LEVELS)}")
        writer = redirect_output()
        if path is not None:
            writer = _log_file(path)
        self._path = path
        self._handler = LineHandler(writer, formatter)
        writer.missing = self._handler.missing
        root = logging.getLogger()
        root.handlers[:] = [self._handler]
        root.setLevel(logging.WARNING)
        self.set_level(level)
        logging.captureWarnings(True)
        # The WebSocket library logs the errors of peers with tracebacks. The transport logs them as well, without.
        logging.getLogger("websockets").setLevel(logging.CRITICAL + 1)

    def set_level(self, level: str) -> None:
        """Log lines of this level and above from now on."""
        logging.getLogger("qcore").setLevel(level.upper())

    def reopen(self) -> None:
        """If the lines go to a file, go on in a new one if it was moved away. It never waits."""
        path = self._path
        if path is not None and self._handler is not None:
            self._handler.writer.reopen(lambda: opened_again(path, open_to_append, self))

    def dropped(self) -> int:
        """How many lines were dropped because the reader was too slow."""
        return 0 if self._handler is None else self._handler.writer.dropped

    def report_suppressed(self, *, all_of_them: bool = False) -> None:
        """Log how many lines were left out of each kind that has ended, or of all kinds (at the end of the process)."""
        if self._handler is not None:
            self._handler.report_suppressed(all_of_them=all_of_them)

    def flush(self, timeout_s: float) -> None:
        """Wait until all lines are written, at most this long."""
        if self._handler is not None:
            self._handler.writer.flush(timeout_s)


def opened_again(path: Path, open_file: Callable[[Path], int], log: NodeLog) -> int | None:
    """The descriptor of a file that is opened again; None if that fails. Then the log says why."""
    try:
        return open_file(path)
    except OSError as error:
        log.error(
            "a file cannot be opened again: the old one is used on",
            path=str(path),
            why=error.strerror or str(error),
        )
        return None


def _log_file(path: Path) -> LineWriter:
    """The writer of a log file.

    Raises:
        ConfigError: the file cannot be opened.
    """
    try:
        file = open_to_append(path)
    except OSError as error:
        raise ConfigError(f"--log-file {path}: {error.strerror}") from None
    writer = LineWriter(file, _MAX_QUEUED_BYTES, lambda number: "")
    atexit.register(writer.flush, FINAL_FLUSH_S)
    return writer


def redirect_output() -> LineWriter:
    """Let separate threads write stdout and stderr of this process; returns the writer of stderr.

    This covers everything that the process prints, including tracebacks and the last error of a command. Printing never
    blocks, and at its end the process waits at most `FINAL_FLUSH_S` for the threads. A second call does nothing.
    """
    out = _redirected(sys.stdout)
    err = _redirected(sys.stderr)
    if out is not None:
        sys.stdout = out
    if err is not None:
        sys.stderr = err
    return _writers[id(sys.stderr)]


#: By `id` of the stream. `_streams` keeps the streams alive, so the ids stay unique.
_writers: Final[dict[int, LineWriter]] = {}
_streams: Final[list[TextIO]] = []


def _redirected(stream: TextIO | None) -> TextIO | None:
    """The stream that replaces this one; None if this one is a replacement already."""
    if id(stream) in _writers:
        return None
    try:
        file = -1 if stream is None else stream.fileno()
    except OSError:  # not a file: another program embeds this one
        file = -1
    if stream is not None:
        stream.flush()
    writer = LineWriter(
        file,
        _MAX_QUEUED_BYTES,
        lambda number: f"{number} lines are missing here: the reader was too slow",
    )
    made = writer.stream()
    _writers[id(made)] = writer
    _streams.append(made)
    atexit.register(writer.flush, FINAL_FLUSH_S)
    return made


class LineHandler(logging.Handler):
    """Formats records and gives them to the writer, except those that repeat.

    Args:
        writer: gets the lines.
        formatter: makes them.
        clock: returns the time, seconds.
    """

    def __init__(
        self,
        writer: LineWriter,
        formatter: logging.Formatter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.writer = writer
        self.setFormatter(formatter)
        self._clock = clock
        self._repeats: RepeatLimiter[_Kind] = RepeatLimiter()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, or only count it. Debug lines are always written."""
        try:
            more = 0
            if record.levelno > logging.DEBUG:
                kind = (record.name, record.levelno, str(record.msg)[:100])
                admitted = self._repeats.admit(kind, self._clock())
                if admitted is None:
                    return
                more = admitted
            if more:
                setattr(record, _FIELDS, {**_fields_of(record), "more_like_this": more})
            self._write(record)
        except Exception:  # noqa: BLE001 - as in every `logging` handler: a bad record must not raise in the caller
            self.handleError(record)

    def report_suppressed(self, *, all_of_them: bool) -> None:
        """See `NodeLog.report_suppressed`."""
        self.acquire()
        try:
            counts = (
                self._repeats.all_suppressed()
                if all_of_them
                else self._repeats.ended_kinds(self._clock())
            )
            for (name, level, text), number in counts:
                record = logging.LogRecord(name, level, "", 0, "lines left out", (), None)
                setattr(record, _FIELDS, {"like": text, "number": number})
                self._write(record)
        finally:
            self.release()

    def missing(self, number: int) -> str:
        """The line that reports how many lines were dropped."""
        text = "log lines dropped: the reader was too slow"
        record = logging.LogRecord("qcore.node", logging.WARNING, "", 0, text, (), None)
        setattr(record, _FIELDS, {"number": number})
        return self.format(record)

    def _write(self, record: logging.LogRecord) -> None:
        self.writer.put((self.format(record) + "\n").encode(errors="backslashreplace"))


class JsonFormatter(logging.Formatter):
    """One JSON object for each line: ts, level, node, term, role, event, then the fields."""

    def __init__(self, log: NodeLog) -> None:
        super().__init__()
        self._log = log

    def format(self, record: logging.LogRecord) -> str:
        """The line for one record."""
        line: dict[str, DetailValue] = {
            "ts": _timestamp(record.created),
            "level": record.levelname.lower(),
            "node": self._log.node_id,
            "term": self._log.term,
            "role": self._log.role,
            "event": printable(record.getMessage(), MAX_SENTENCE_CHARS),
            **{
                key: printable(value) if isinstance(value, str) else value
                for key, value in _fields_of(record).items()
            },
        }
        if record.exc_info:
            line["exception"] = "\n".join(_traceback(self.formatException(record.exc_info)))
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """`time LEVEL node=1 term=3 role=leader event key=value ...`. Lines of a traceback begin with `  | `."""

    def __init__(self, log: NodeLog) -> None:
        super().__init__()
        self._log = log

    def format(self, record: logging.LogRecord) -> str:
        """The line for one record."""
        text = log_text(self._log, record.getMessage(), _fields_of(record))
        line = f"{_timestamp(record.created)} {record.levelname:<7} {text}"
        if record.exc_info:
            line += "".join(
                f"\n  | {part}" for part in _traceback(self.formatException(record.exc_info))
            )
        return line


def log_text(log: NodeLog, event: str, fields: Mapping[str, DetailValue]) -> str:
    """`node=1 term=3 role=leader event key=value ...`, all on one line."""
    shown = "".join(f" {key}={_value(value)}" for key, value in fields.items())
    event = printable(event, MAX_SENTENCE_CHARS)
    return f"node={log.node_id} term={log.term} role={log.role} {event}{shown}"


def _fields_of(record: logging.LogRecord) -> dict[str, DetailValue]:
    fields = getattr(record, _FIELDS, None)
    return fields if isinstance(fields, dict) else {}


def _timestamp(created: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))
    return f"{whole}.{int(created * 1000) % 1000:03d}Z"


def _value(value: DetailValue) -> str:
    """A field's value, quoted if it would not read as one word."""
    if isinstance(value, str):
        text = truncate(value)
        plain = text and all(c.isprintable() and c not in ' "=' for c in text)
        return text if plain else escape_unprintable(json.dumps(text, ensure_ascii=False))
    if isinstance(value, float):
        return f"{value:.3f}"
    return json.dumps(value)


def _traceback(text: str) -> list[str]:
    """The lines of a traceback, escaped because the text of an exception may come from outside."""
    lines = text.split("\n")
    left_out = len(lines) - _MAX_TRACEBACK_LINES
    if left_out > 0:
        lines = [f"... ({left_out} lines left out)", *lines[left_out:]]
    return [printable(line, MAX_SENTENCE_CHARS) for line in lines]
