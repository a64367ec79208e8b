"""The content of log lines: truncated, escaped, and with repetitions limited."""

from __future__ import annotations

import json
import logging
import os

import pytest

from qcore.display import MAX_ERROR_CHARS, MAX_NAME_CHARS, MAX_SENTENCE_CHARS
from qcore.errors import ConfigError, RemoteProtocolError
from qcore.machines.register import RegisterMachine
from qcore.node.application import EntityApplication, TextApplication
from qcore.node.observability.line_writer import LineWriter
from qcore.node.observability.logs import JsonFormatter, LineHandler, NodeLog, TextFormatter
from qcore.node.observability.repeated_lines import BURST, INTERVAL_S, MAX_KINDS, RepeatLimiter
from qcore.transport.address import Address
from qcore.transport.wire import failure

#: A newline with a forged line after it, control codes of a terminal (some of one byte), and a mark that reverses the
#: direction of writing.
EVIL = "a\n2026-01-31T12:00:00.123Z INFO  node=1 forged\r\x1b[31m\x9b31m\u202e\ud800\x7f\0"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Logged:
    """A logger that writes to a pipe. Each call of `lines` reads the lines written since the last call."""

    def __init__(self, formatter: type[TextFormatter | JsonFormatter]) -> None:
        self.clock = Clock()
        self._source, self._target = os.pipe()
        self._writer = LineWriter(self._target, 10**6, str)
        self.handler = LineHandler(self._writer, formatter(NodeLog(1)), self.clock)
        self.logger = logging.Logger("qcore.test")
        self.logger.addHandler(self.handler)

    def warn(self, text: str, *values: object, **fields: object) -> None:
        self.logger.warning(text, *values, extra={"qcore_fields": fields})

    def lines(self) -> list[str]:
        self._writer.put(b"end\n")
        data = b""
        while not data.endswith(b"end\n"):
            data += os.read(self._source, 65536)
        return data.decode().split("\n")[:-2]


@pytest.fixture(params=[TextFormatter, JsonFormatter])
def logged(request: pytest.FixtureRequest) -> Logged:
    return Logged(request.param)


def test_foreign_text_is_escaped_and_stays_on_its_line(logged: Logged) -> None:
    logged.warn("%s: refused", EVIL, why=EVIL, name="日本")
    (line,) = logged.lines()
    assert line.isprintable()
    assert "日本" in line
    assert "forged" in line


def test_a_long_text_is_cut_and_its_length_named(logged: Logged) -> None:
    logged.warn("%s", "m" * 10_000_000, why="w" * 10_000_000, fine="f" * MAX_NAME_CHARS)
    (line,) = logged.lines()
    assert "m" * MAX_SENTENCE_CHARS + "... (10000000 characters)" in line
    assert "w" * MAX_NAME_CHARS + "... (10000000 characters)" in line
    assert "f" * MAX_NAME_CHARS in line
    assert len(line) < 2 * (MAX_SENTENCE_CHARS + MAX_NAME_CHARS)


def test_a_traceback_is_logged_and_forges_no_line(logged: Logged) -> None:
    try:
        raise RuntimeError(EVIL + "x" * 100_000 + "\n" * 100_000)
    except RuntimeError:
        logged.logger.exception("a bug")
    lines = logged.lines()
    assert all(line.isprintable() for line in lines)
    assert "lines left out" in "".join(lines)
    assert len("".join(lines)) < 20_000
    assert all(line.startswith("  | ") for line in lines[1:])
    try:
        raise RuntimeError(EVIL)
    except RuntimeError:
        logged.logger.exception("a bug")
    text = "\n".join(logged.lines())
    assert "RuntimeError" in text
    assert __file__ in text


def test_repeated_lines_are_logged_once_a_minute_with_a_count(logged: Logged) -> None:
    for peer in range(500):
        logged.warn("role changed", peer=peer)
        logged.warn("another", peer=peer)
    assert len(logged.lines()) == 2 * BURST
    for minute in range(1, 4):
        logged.clock.now = 1000 + minute * INTERVAL_S
        for peer in range(500):
            logged.warn("role changed", peer=peer)
        (line,) = logged.lines()
        left_out = 500 - BURST if minute == 1 else 499
        assert str(left_out) in line.partition("more_like_this")[2]
    logged.clock.now += INTERVAL_S + 2
    logged.handler.report_suppressed(all_of_them=False)
    lines = logged.lines()
    assert len(lines) == 2  # both kinds have ended
    assert any("role changed" in line and "499" in line for line in lines)
    assert any("another" in line and str(500 - BURST) in line for line in lines)
    logged.handler.report_suppressed(all_of_them=True)
    assert logged.lines() == []


def test_suppressed_lines_are_counted_at_the_end() -> None:
    logged = Logged(TextFormatter)
    for _ in range(BURST + 7):
        logged.warn("again")
    logged.handler.report_suppressed(all_of_them=True)
    assert logged.lines()[-1].endswith("lines left out like=again number=7")


def test_debug_lines_are_all_written() -> None:
    logged = Logged(TextFormatter)
    logged.logger.setLevel(logging.DEBUG)
    for _ in range(BURST * 3):
        logged.logger.debug("again")
    assert len(logged.lines()) == BURST * 3


def test_rare_lines_are_always_logged_and_memory_is_bounded() -> None:
    repeats: RepeatLimiter[int] = RepeatLimiter()
    for minute in range(100):
        assert repeats.admit(0, minute * INTERVAL_S) == 0
    for kind in range(MAX_KINDS):
        for _ in range(BURST + 1):
            repeats.admit(kind + 1, 6000.0)
    assert len(repeats._kinds) == MAX_KINDS
    assert sum(number for _, number in repeats.all_suppressed()) == MAX_KINDS


def test_an_error_that_quotes_its_input_is_shortened() -> None:
    error = RemoteProtocolError("q" * 10_000_000)
    err, _ = failure(error)
    assert err.text.endswith("... (10000000 characters)")
    for application in (EntityApplication(), TextApplication(RegisterMachine())):
        assert len(json.dumps(application.failure("Write", error))) < 2 * MAX_ERROR_CHARS
    with pytest.raises(ConfigError) as caught:
        Address.parse("h" * 10_000_000, "node_addr")
    assert len(str(caught.value)) < 2 * MAX_NAME_CHARS
    for host in ("h" * 254, "a\x1b[0m"):
        with pytest.raises(ConfigError, match="node_addr"):
            Address.parse(f"{host}:80", "node_addr")
