"""`replay_recording`: replays a recording to its end or to a place, and reports what was found there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from qcore.errors import ConfigError
from qcore.machines.interface import StateMachine
from qcore.sim.replay.replay import Replay
from qcore.sim.replay.step_facts import effect_text, event_text
from qcore.sim.simulation import NodeState
from qcore.sim.verdict.result import Json

#: The most events, and the most effects, of a step that a report has.
_MAX_SHOWN: Final = 20


@dataclass(slots=True, frozen=True)
class RecordingReport:
    """Where the replay of a recording stopped, and what it found.

    Attributes:
        path: the recording, or the stored run.
        node, machine, origin: the node, its state machine, and who recorded it.
        lives, life, step: how many lives there are, and the life and the step after which it stopped.
        now_ms, wall: the time since the start of the life, and the wall clock.
        difference: the first step that differs, in a sentence; None if all are equal.
        end: how the recording of the life ends; empty if the replay stopped before.
        gaps: the lives whose recording has a gap, each in a sentence.
        error: what the last step raised.
        events, effects: those of the last step, each as a line.
        state: the state of the node; None if it did not start.
    """

    path: Path
    node: int
    machine: str
    origin: str
    lives: int
    life: int
    step: int
    now_ms: float
    wall: str
    difference: str | None
    end: str
    gaps: tuple[str, ...]
    error: str
    events: tuple[str, ...]
    effects: tuple[str, ...]
    state: NodeState | None

    @property
    def problems(self) -> list[str]:
        """What is wrong, one sentence each."""
        found = [] if self.difference is None else [self.difference]
        return [*found, *self.gaps]

    def to_json(self) -> dict[str, Json]:
        """The object that `qcore sim replay -o json` prints."""
        found = asdict(self)
        found["path"] = str(self.path)
        found["equal"] = self.difference is None
        return found


def replay_recording(
    path: Path,
    *,
    node: int | None = None,
    life: int | None = None,
    machine: Callable[[], StateMachine] | None = None,
    until_ms: float | None = None,
    until_step: int | None = None,
    at: str | None = None,
) -> RecordingReport:
    """Replay a recording. It stops at the first step that differs, at the given place, or at the end.

    Args:
        path, node, life, machine: see `Replay`.
        until_ms: stop this long after the start of a life.
        until_step: stop after this step of a life.
        at: stop at the first step that this query describes.

    Raises:
        ConfigError: as `Replay`, or the recording has no such place.
    """
    replay = Replay(path, node=node, life=life, machine=machine)
    kinds: dict[str, None] = {}
    if at is not None:
        described = replay.query(at)

        def is_described(found: Replay) -> bool:
            kinds.update(dict.fromkeys(found.kinds))
            return described(found)

        reached = _until(replay, is_described)
    elif until_step is not None:
        reached = _until(replay, lambda found: found.step_number >= until_step)
    elif until_ms is not None:
        reached = replay.run_until(until_ms) or replay.now_ms <= until_ms
    else:
        replay.run()
        reached = True
    if not reached and replay.difference is None and not replay.gaps:
        place = f"--at {at!r}" if at is not None else f"--until-event {until_step}"
        found = f"; the kinds in its steps are {', '.join(sorted(kinds))}" if kinds else ""
        raise ConfigError(
            f"{place}: {path} has no such step: it ends after step {replay.step_number}{found}"
        )
    return _report(path, replay)


def _until(replay: Replay, reached: Callable[[Replay], bool]) -> bool:
    found = replay.run_until(lambda now: now.difference is not None or reached(now))
    return found and replay.difference is None


def _report(path: Path, replay: Replay) -> RecordingReport:
    start = replay.start
    wall = datetime.fromtimestamp(replay.wall_us / 1_000_000, UTC)
    origin = f"a real node of qcore {start.qcore}"
    if start.source == "simulator":
        origin = f"of scenario {start.scenario}, seed {start.seed}, in qcore {start.qcore}"
    return RecordingReport(
        path,
        replay.node_id,
        start.machine,
        origin,
        replay.lives,
        replay.life,
        replay.step_number,
        replay.now_ms,
        wall.isoformat(sep=" ", timespec="milliseconds"),
        None if replay.difference is None else str(replay.difference),
        "" if replay.end is None else replay.end.text,
        tuple(replay.gaps),
        replay.error,
        _first([event_text(event) for event in replay.events[:_MAX_SHOWN]], len(replay.events)),
        _first([effect_text(one) for one in replay.effects[:_MAX_SHOWN]], len(replay.effects)),
        None if replay.has_not_started else replay.state,
    )


def _first(texts: list[str], number: int) -> tuple[str, ...]:
    more = number - len(texts)
    return (*texts, f"and {more} more") if more else tuple(texts)
