"""`RunRecordings`: records the nodes of a simulated run, as a real node records itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import IO, Final

from qcore.core.entry import DurableState
from qcore.errors import ConfigError
from qcore.files import open_nonblocking
from qcore.recording.life_recorder import ByteSink, LifeRecorder
from qcore.recording.start_of_life import GeneratorState, StartOfLife
from qcore.replica.config import ReplicaConfig

#: The name of the machine of collections in a recording.
COLLECTIONS: Final = "collections"


class RunRecordings:
    """Records the lives of the nodes of one run.

    Args:
        sink_of: node -> what takes the lines of its recording; None for a node that is not recorded.
        machine: how a replay finds the state machine; empty if a program gave it.
        watchable: whether the wrappers of the machines offer to watch them.
        scenario, seed: the scenario and the seed of the run.
    """

    def __init__(
        self,
        sink_of: Callable[[int], ByteSink | None],
        machine: str,
        scenario: str,
        seed: int,
        *,
        watchable: bool,
    ) -> None:
        self._sink_of = sink_of
        self._machine = machine
        self._scenario = scenario
        self._seed = seed
        self._watchable = watchable
        self._lives: dict[int, LifeRecorder] = {}

    def begin_life(
        self,
        config: ReplicaConfig,
        durable: DurableState,
        generator: Random | GeneratorState,
        now: int,
        wall_us: int,
    ) -> LifeRecorder | None:
        """Record another life of a node; None if the node is not recorded."""
        node = config.raft.node_id
        sink = self._sink_of(node)
        if sink is None:
            return None
        start = StartOfLife(
            config=config,
            machine=self._machine,
            now=now,
            wall_us=wall_us,
            generator=GeneratorState.of(generator) if isinstance(generator, Random) else generator,
            durable=durable,
            source="simulator",
            watchable=self._watchable,
            scenario=self._scenario,
            seed=self._seed,
        )
        recorder = self._lives[node] = LifeRecorder(start, sink)
        return recorder

    def finish(self) -> None:
        """The run is over: end the lives that still run."""
        for recorder in self._lives.values():
            if not recorder.ended:
                recorder.end("the run was over")


class RecordingDirectory:
    """The files of the recordings of a run: `node-1.qrec`, `node-2.qrec`, ... in one directory.

    Args:
        directory: the directory, which is created.
        nodes: the nodes of the run.

    Raises:
        ConfigError: the directory or a file cannot be written.
    """

    def __init__(self, directory: Path | str, nodes: Iterable[int]) -> None:
        self._directory = Path(directory)
        self._files: dict[int, IO[bytes]] = {}
        try:
            with ExitStack() as stack:
                self._directory.mkdir(parents=True, exist_ok=True)
                for node in nodes:
                    path = self._directory / f"node-{node}.qrec"
                    file = open(path, "wb", opener=open_nonblocking)  # noqa: SIM115 - `close` closes it
                    self._files[node] = stack.enter_context(file)
                self._open_files = stack.pop_all()
        except OSError as error:
            raise self._cannot_write(error) from None

    def sink_of(self, node: int) -> ByteSink:
        """What takes the lines of a node's recording."""
        return self._files[node].write

    def close(self) -> None:
        """Close the files. A node that never started leaves no file.

        Raises:
            ConfigError: a file cannot be written.
        """
        try:
            unused = [file.name for file in self._files.values() if not file.tell()]
            self._open_files.close()
            for name in unused:
                Path(name).unlink()
        except OSError as error:
            raise self._cannot_write(error) from None

    def _cannot_write(self, error: OSError) -> ConfigError:
        return ConfigError(f"cannot write the recordings in {self._directory}: {error.strerror}")
