"""`LifeReplay`: steps a replica through one recorded life, and compares the effects of each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from qcore.errors import ConfigError, QcoreError
from qcore.machines.interface import StateMachine
from qcore.recording import (
    EffectDigest,
    Life,
    RecordedStep,
    RecordingEnd,
    digest_of_effects,
    state_digest,
)
from qcore.replica.events import ReplicaEffect
from qcore.replica.replica import Replica
from qcore.sim.replay.recorded_machine import recorded_machine


@dataclass(slots=True, frozen=True)
class Difference:
    """The first step of a replay whose effects are not the recorded ones, or after which the state is another one.

    Attributes:
        life, step: the numbers of the life and of the step, from 1 on.
        recorded, replayed: the effects in words; or the error that the step raised.
    """

    life: int
    step: int
    recorded: str
    replayed: str

    def __str__(self) -> str:
        return f"step {self.step} of life {self.life} differs: recorded {self.recorded}; replayed {self.replayed}"


class LifeReplay:
    """One life, from its start on.

    Args:
        life: the recorded life.
        machine: makes the state machine, in place of the recorded one.

    Attributes:
        replica: the replica; None if it could not start.
        step: the step that was replayed last; None before the first.
        effects: what the replica returned in that step.
        error: the error that it raised in that step, or at the start; empty if it raised none.
        difference: the first step whose effects differ; None if all were equal until now.
        end: how the recording ends, once all steps are replayed.

    Raises:
        ConfigError: the state machine cannot be loaded.
    """

    def __init__(self, life: Life, machine: Callable[[], StateMachine] | None = None) -> None:
        self.life = life
        self.replica: Replica | None = None
        self.step: RecordedStep | None = None
        self.effects: Sequence[ReplicaEffect] = ()
        self.error = ""
        self.difference: Difference | None = None
        self.end: RecordingEnd | None = None
        self._steps: Iterator[RecordedStep | RecordingEnd] = life.steps()
        self._answers: list[tuple[int, str | None]] = []
        self._ahead: RecordedStep | RecordingEnd | None = None
        start = life.start
        machine_object = recorded_machine(start, machine)
        try:
            self.replica = Replica(
                start.config,
                machine_object,
                start.durable,
                rng=start.generator.generator(),
                now=start.now,
            )
        except QcoreError as error:
            self.error = f"{type(error).__name__}: {error}"
        else:
            self.replica.connection_problem = self._connection_problem

    @property
    def upcoming(self) -> RecordedStep | None:
        """The step that `advance` replays next; None at the end."""
        if self._ahead is None:
            self._ahead = next(self._steps, None)
        if isinstance(self._ahead, RecordingEnd):
            if self.end is None:
                self.end = self._ahead
                self._compare_end(self.end)
            return None
        return self._ahead

    @property
    def now(self) -> int:
        """The clock of the node, µs."""
        return self.life.start.now if self.step is None else self.step.now

    def advance(self) -> bool:
        """Replay one step.

        Returns:
            False if there is no further step, and nothing happened.
        """
        step = self.upcoming
        if step is None:
            return False
        self._ahead = None
        self.step, self.effects = step, ()
        replica = self.replica
        if replica is None:
            self._compare(step, EffectDigest("", 0), f"the replica did not start: {self.error}")
            return True
        if self.error:
            raise ConfigError(
                f"the replica raised an error in step {step.number - 1} of the replay: it cannot go on"
            )
        self._answers = list(step.answers)
        try:
            self.effects = replica.step(step.events, step.now, step.wall_us)
        except Exception as error:  # noqa: BLE001 - the machine is user code, and the core may be another one
            self.error = f"{type(error).__name__}: {error}"
        self._compare(step, digest_of_effects(self.effects), self.error)
        if step.state is not None:
            index, digest = step.state
            self._compare_state(step.number, index, digest, replica.digests.kept.get(index))
        return True

    def _compare(self, step: RecordedStep, found: EffectDigest, error: str) -> None:
        if self.difference is not None or (found == step.digest and error == step.failed):
            return
        self.difference = Difference(
            self.life.number, step.number, step.failed or str(step.digest), error or str(found)
        )

    def _compare_end(self, end: RecordingEnd) -> None:
        if end.state is None or self.replica is None or self.error:
            return
        found = state_digest(self.replica)
        index, digest = end.state
        # An older recording has no digest of the users: then that of the state machine has to be equal.
        replayed: tuple[str, ...] = () if found is None else found[1:]
        place = 1 if end.covers_users else 0
        self._compare_state(
            end.steps, index, digest, replayed[place] if place < len(replayed) else None
        )

    def _compare_state(self, step: int, index: int, recorded: str, found: str | None) -> None:
        if self.difference is None and found != recorded:
            where = f"state hash {{}} at index {index}"
            self.difference = Difference(
                self.life.number, step, where.format(recorded), where.format(found)
            )

    def _connection_problem(self, peer_id: int) -> str | None:
        """The recorded answer, which the texts of errors quote."""
        for place, (peer, answer) in enumerate(self._answers):
            if peer == peer_id:
                del self._answers[place]
                return answer
        return None
