"""`WholeRecording`: the recording of one life of a whole node, among those of its run."""

from __future__ import annotations

from qcore.recording import LifeRecorder, StartOfLife
from qcore.recording.run_recordings import RunRecordings


class WholeRecording:
    """Records one life; see `qcore.node.observability.node_recording.ReplicaRecording`.

    Args:
        recordings: those of the run. They know the scenario, the seed, and how a replay finds the state machine.
    """

    def __init__(self, recordings: RunRecordings) -> None:
        self._recordings = recordings
        self._recorder: LifeRecorder | None = None

    def begin(self, start: StartOfLife) -> LifeRecorder | None:
        """The replica starts from this."""
        self._recorder = self._recordings.begin_life(
            start.config, start.durable, start.generator, start.now, start.wall_us
        )
        return self._recorder

    def flush(self) -> None:
        """Do nothing: the recording of a simulated life is written when the life ends, or its buffer is full."""

    def end(self, why: str) -> None:
        """The life ends."""
        if self._recorder is not None:
            self._recorder.end(why)
