"""The recording of a real node: its file, which a separate thread writes, so that a slow disk never blocks the node."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Protocol

from qcore.core.entry import DurableState
from qcore.errors import ConfigError
from qcore.files import open_to_append, special_file_kind
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import StateMachine
from qcore.machines.kv.kv_machine import KeyValueMachine
from qcore.machines.register import RegisterMachine
from qcore.node.observability.line_writer import LineWriter
from qcore.node.observability.logs import NodeLog
from qcore.recording import GeneratorState, LifeRecorder, StartOfLife
from qcore.recording.line_checksum import with_checksum
from qcore.replica.config import ReplicaConfig

#: The most bytes of lines that wait for a slow file.
_MAX_QUEUED_BYTES: Final = 32 * 1024 * 1024
#: How long a node that ends waits for a slow file, seconds.
_FINAL_FLUSH_S: Final = 2.0


class ReplicaRecording(Protocol):
    """Takes the recording of one life of a node."""

    def begin(self, start: StartOfLife) -> LifeRecorder | None:
        """The replica starts from this. Returns what takes its steps, or None if nothing does.

        Raises:
            ConfigError: it cannot be written.
        """
        ...

    def flush(self) -> None:
        """Write the steps that wait."""
        ...

    def end(self, why: str) -> None:
        """The life ends."""
        ...


class NodeRecording:
    """The file of a recording. `begin` writes the start of this life, and then steps may follow.

    A life is appended to those that the file holds. If these take more than half of the limit, the file is moved to
    `FILE.1` first, in place of an older one.

    Args:
        path: the file.
        limit_bytes: about how many bytes the steps of this life may have.
        log: gets a line if the recording ends early.

    Raises:
        ConfigError: the file cannot be opened, or is no regular file.
    """

    def __init__(self, path: Path, limit_bytes: int, log: NodeLog) -> None:
        self._path = path
        self._limit = limit_bytes
        self._log = log
        self._recorder: LifeRecorder | None = None
        self._writer: LineWriter | None = None
        try:
            self._file = _opened(path, limit_bytes)
        except OSError as error:
            raise ConfigError(f"--record {path}: {error.strerror}") from None

    def begin(self, start: StartOfLife) -> LifeRecorder:
        """Write what the replica starts from. This waits for the disk, as reading it from the disk did.

        Raises:
            ConfigError: the file cannot be written.
        """
        try:
            for line in start.lines():
                _write(self._file, with_checksum(line) + b"\n")
        except OSError as error:
            raise ConfigError(f"--record {self._path}: {error.strerror}") from None
        self._writer = LineWriter(self._file, _MAX_QUEUED_BYTES, _missing, self._failed)
        self._recorder = LifeRecorder(
            start, self._take, limit_bytes=self._limit, start_is_written=True
        )
        return self._recorder

    def lines_dropped(self) -> int:
        """How many writes to the file were dropped because it was too slow."""
        return 0 if self._writer is None else self._writer.dropped

    def flush(self) -> None:
        """Pass the steps on to the thread."""
        if self._recorder is not None:
            self._recorder.flush()

    def end(self, why: str) -> None:
        """The life ends."""
        if self._recorder is not None:
            self._recorder.end(why)

    def close(self) -> None:
        """Write what waits, for at most 2 s, and close the file. Idempotent."""
        file, self._file = self._file, -1
        if file >= 0 and (self._writer is None or self._writer.close(_FINAL_FLUSH_S)):
            os.close(file)

    def _take(self, lines: bytes) -> None:
        writer = self._writer
        # After a gap nothing can be replayed, so nothing more is written.
        if writer is not None and not self.lines_dropped():
            writer.put(lines)
            if self.lines_dropped():
                self._log.error(
                    "the recording ends here: its file was too slow", path=str(self._path)
                )

    def _failed(self, error: OSError) -> None:
        self._log.error(
            "the recording ends here: its file cannot be written",
            path=str(self._path),
            why=error.strerror,
        )


def _missing(lines: int) -> str:
    return with_checksum(f'["missing",{lines}]').decode()


def start_of_node(
    config: ReplicaConfig,
    machine: str,
    durable: DurableState,
    seed: int,
    now: int,
    wall_us: int,
) -> StartOfLife:
    """What the replica of a real node starts from; `seed` is that of its generator."""
    return StartOfLife(
        config=config,
        machine=machine,
        now=now,
        wall_us=wall_us,
        generator=GeneratorState(seed),
        durable=durable,
        source="node",
    )


def name_of_machine(machine: StateMachine, setting: str) -> str:
    """How a replay finds the state machine: by its setting, with an absolute file; or by its class.

    Args:
        machine: the state machine.
        setting: `NodeConfig.machine`, which says nothing if the program gave an application itself.
    """
    built_in = {EntityStore: "entity", KeyValueMachine: "kv", RegisterMachine: "register"}.get(
        type(machine)
    )
    if built_in is not None:
        return built_in
    where, _, cls = setting.rpartition(":")
    if where.endswith(".py"):
        return f"{Path(where).resolve()}:{cls}"
    if where:
        return setting
    return f"{type(machine).__module__}:{type(machine).__qualname__}"


def _opened(path: Path, limit_bytes: int) -> int:
    """The descriptor of the file, to append to.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    file = open_to_append(path, os.O_RDWR)
    try:
        status = os.fstat(file)
        if (kind := special_file_kind(status.st_mode)) is not None:
            raise OSError(0, f"it is {kind}; a replay needs a regular file")
        if status.st_size > limit_bytes // 2:
            os.close(file)
            file = -1
            path.replace(f"{path}.1")
            file = open_to_append(path, os.O_RDWR)
        elif status.st_size and os.pread(file, 1, status.st_size - 1) != b"\n":
            _write(file, b"\n")  # the process before was killed within a line
    except BaseException:
        if file >= 0:
            os.close(file)
        raise
    return file


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
