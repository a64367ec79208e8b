"""Reads recordings: the lives in a file, and their steps, one after the other."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal

from qcore.errors import ConfigError
from qcore.files import open_regular
from qcore.recording.effect_digest import EffectDigest
from qcore.recording.event_codec import read_event
from qcore.recording.line_checksum import WrongChecksum, without_checksum
from qcore.recording.start_of_life import HEAD_START, StartOfLife, read_start
from qcore.replica.events import ReplicaEvent

#: How a recording ends: the life ended; the writer was killed; the file was too slow, or has reached its limit; a step
#: could not be recorded, because of a bug.
EndKind = Literal["end", "cut", "missing", "limit", "unrecorded"]


@dataclass(slots=True, frozen=True)
class RecordedStep:
    """One step of a life.

    Attributes:
        number: its number within the life, from 1 on.
        now, wall_us: the clocks, µs.
        events: what the replica took.
        digest: what is kept of its effects.
        answers: peers with the answer why they are not connected, in the order in which the step asked.
        failed: the error that the step raised; empty if it raised none.
        state: an index, and the digest of the state there, if the step made one.
    """

    number: int
    now: int
    wall_us: int
    events: list[ReplicaEvent]
    digest: EffectDigest
    answers: tuple[tuple[int, str | None], ...] = ()
    failed: str = ""
    state: tuple[int, str] | None = None


@dataclass(slots=True, frozen=True)
class RecordingEnd:
    """Where and why the recording of a life ends.

    Attributes:
        kind: why.
        steps: how many steps there are before.
        text: the same in a sentence.
        state: the index of the last applied entry, and the digest of the state there, if the end has it: of the state
            machine alone unless `covers_users`.
        covers_users: the digest covers users and roles, too. Without them, and in older recordings, it does not.
    """

    kind: EndKind
    steps: int
    text: str
    state: tuple[int, str] | None = None
    covers_users: bool = False


class _StartCutOff(Exception):
    """The start of a life is incomplete."""


class Life:
    """One life of a node in a recording.

    Args:
        source: the file, or its content.
        number: the number of the life within the file, from 1 on.
        offset: where it begins in the file.

    Raises:
        ConfigError: the file cannot be read, or the start of the life is damaged or of another version.
    """

    def __init__(self, source: Path | bytes, number: int, offset: int) -> None:
        self._source = source
        self.number = number
        self._offset = offset
        with _opened(source) as file:
            file.seek(offset)
            self.start = self._read_start(file)
            self._steps_at = file.tell()

    def steps(self) -> Iterator[RecordedStep | RecordingEnd]:
        """The steps, and at last how the recording ends.

        Raises:
            ConfigError: a line is damaged.
        """
        number, now, wall_us = 0, self.start.now, self.start.wall_us
        with _opened(self._source) as file:
            file.seek(self._steps_at)
            while True:
                try:
                    line = _read_line(file)
                    step = _step(line, number + 1, now, wall_us)
                    end = None if step is not None else _end(line, number)
                except (ValueError, TypeError, AttributeError) as error:
                    stop = f"; stop there with --until-event {number}" if number else ""
                    raise ConfigError(
                        f"{_name(self._source)}: the recording is damaged after step {number}{stop}: {error}"
                    ) from None
                if step is None:
                    assert end is not None, "a line is a step or an end"
                    yield end
                    return
                number, now, wall_us = step.number, step.now, step.wall_us
                yield step

    def _read_start(self, file: IO[bytes]) -> StartOfLife:
        try:
            head = _whole_line(file)
            if not isinstance(head, dict):
                raise ValueError("it is no recording")
            return read_start(head, lambda: _whole_line(file))
        except ValueError as error:
            raise ConfigError(
                f"{_name(self._source)}: life {self.number} cannot be read: {error}; the lives before it can"
            ) from None
        except ConfigError as error:
            raise ConfigError(f"{_name(self._source)}: {error}") from None


def read_lives(source: Path | str | bytes) -> list[Life]:
    """The lives in a recording, in order.

    Args:
        source: the file, or its content.

    Raises:
        ConfigError: the file cannot be read, is no recording, or is damaged at the start of a life.
    """
    source = Path(source) if isinstance(source, str) else source
    offsets: list[int] = []
    offset = 0
    with _opened(source) as file:
        for line in file:
            if line.startswith(HEAD_START):
                offsets.append(offset)
            offset += len(line)
    if not offsets:
        raise ConfigError(
            f"{_name(source)} is no recording: it holds no start of a life; "
            "`qcore node start --record FILE` and `qcore sim run --record DIR` write recordings"
        )
    lives: list[Life] = []
    for offset in offsets:
        with suppress(_StartCutOff):  # the process was killed before its first step
            lives.append(Life(source, len(lives) + 1, offset))
    if not lives:
        raise ConfigError(f"{_name(source)}: the recording was cut off before its first step")
    return lives


def is_recording(path: Path | str) -> bool:
    """Whether a file begins as a recording does."""
    try:
        with open_regular(path) as file:
            return file.read(len(HEAD_START)) == HEAD_START
    except OSError:
        return False


#: What `_read_line` returns for a line that is torn, or at the end of the file.
_CUT: Final = None


def _read_line(file: IO[bytes]) -> Any:
    """The next line; None if it is torn, or if there is none."""
    line = file.readline()
    if not line.endswith(b"\n"):
        return _CUT
    try:
        return json.loads(without_checksum(line).decode("utf-8", "surrogatepass"))
    except WrongChecksum:
        raise
    except ValueError:
        place = file.tell()
        following = file.readline()
        file.seek(place)
        if not following.strip(b"\0\n") or following.startswith(HEAD_START):
            return _CUT  # the writer was killed within this line
        raise


def _whole_line(file: IO[bytes]) -> Any:
    """The next line of the start of a life.

    Raises:
        _StartCutOff: it is torn, or there is none.
    """
    line = _read_line(file)
    if line is _CUT:
        raise _StartCutOff
    return line


def _step(line: object, number: int, now: int, wall_us: int) -> RecordedStep | None:
    """The step of a line; None if the line is none.

    Args:
        line: its content.
        number: the number of the step.
        now, wall_us: the clocks at the step before.
    """
    match line:
        case [int(more_now), int(more_wall), list(events), str(kinds), int(checksum), *rest]:
            more: Any = rest[0] if rest else {}
            return RecordedStep(
                number,
                now + more_now,
                wall_us + more_wall,
                [read_event(event) for event in events],
                EffectDigest(kinds, checksum),
                tuple((peer, text) for peer, text in more.get("answers", ())),
                more.get("failed", ""),
                _state(more.get("digest")),
            )
        case _:
            return None


def _state(digest: Any) -> tuple[int, str] | None:
    return None if digest is None else (int(digest[0]), str(digest[1]))


def _end(found: object, steps: int) -> RecordingEnd:
    match found:
        case ["end", why, [int(index), _, str(replicated)]]:
            state = index, replicated
            return RecordingEnd("end", steps, f"the life ended: {why}", state, covers_users=True)
        case ["end", why, digest]:
            return RecordingEnd("end", steps, f"the life ended: {why}", _state(digest))
        case ["missing", number]:
            text = (
                f"{number} lines are missing after step {steps}, because the file was written too slowly: what follows "
                "cannot be replayed; record to a faster disk"
            )
            return RecordingEnd("missing", steps, text)
        case ["limit", size]:
            text = f"the recording reached its limit of {size} bytes: record_limit_bytes sets it"
            return RecordingEnd("limit", steps, text)
        case ["unrecorded", why]:
            return RecordingEnd("unrecorded", steps, f"the next step could not be recorded: {why}")
        case None | {"recording": _}:
            return RecordingEnd(
                "cut", steps, "the recording was cut off: the process was killed, or still runs"
            )
    raise ValueError(f"this is no step: {found!r:.100}")


def _name(source: Path | bytes) -> str:
    return str(source) if isinstance(source, Path) else "the recording"


def _opened(source: Path | bytes) -> IO[bytes]:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        return open_regular(source)
    except OSError as error:
        raise ConfigError(f"cannot read the recording {source}: {error.strerror}") from None
