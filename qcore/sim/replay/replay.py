"""`Replay`: step through what a node took, in a notebook or a debugger.

from qcore.sim import Replay

replay = Replay("node-2.qrec")
replay.run_until("kind=role role=leader")
print(replay.now_ms, replay.event, replay.effects, replay.state)
replay.step()
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from qcore.errors import ConfigError
from qcore.machines.interface import StateMachine
from qcore.recording import Life, RecordedStep, RecordingEnd, StartOfLife, is_recording, read_lives
from qcore.replica.events import ReplicaEffect, ReplicaEvent
from qcore.replica.replica import Replica
from qcore.sim.replay.life_replay import Difference, LifeReplay
from qcore.sim.replay.record_query import parse_query
from qcore.sim.replay.step_facts import step_kinds, step_matches
from qcore.sim.replay.stored_run import load_stored_run
from qcore.sim.simulation import NodeState, World


class Replay:
    """A node's life, step by step: the same events at the same times, through replica and core.

    Args:
        path: a recording of a node, real or simulated; or an artifact or a trace, whose run is simulated again to
            record one of its nodes.
        node: the node; of a run, by default that of the first violation, or else the first one.
        life: the number of the life to replay, from 1 on; by default all, one after the other.
        machine: makes the state machine, in place of the one that the recording names.

    Raises:
        ConfigError: the file is neither, is damaged, or holds no such node or life; or the machine cannot be loaded.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        node: int | None = None,
        life: int | None = None,
        machine: Callable[[], StateMachine] | None = None,
    ) -> None:
        lives = _lives_in(Path(path), node)
        if life is not None:
            if not 1 <= life <= len(lives):
                raise ConfigError(f"{path} has {len(lives)} lives, and no life {life}")
            lives = [lives[life - 1]]
        self._lives = lives
        self._place = 0
        self._machine = machine
        self._current = LifeReplay(lives[0], machine)
        self._difference: Difference | None = None
        self._ends: dict[int, RecordingEnd] = {}

    def __repr__(self) -> str:
        return f"Replay(node {self.node_id}, life {self.life}, step {self.step_number}, at {self.now_ms:g} ms)"

    # -- where it is -----------------------------------------------------------------------------

    @property
    def node_id(self) -> int:
        """The id of the node."""
        return self.start.node_id

    @property
    def lives(self) -> int:
        """How many lives are replayed."""
        return len(self._lives)

    @property
    def life(self) -> int:
        """The number of the life, from 1 on."""
        return self._current.life.number

    @property
    def start(self) -> StartOfLife:
        """What the replica started from in this life: settings, machine, durable state, clocks."""
        return self._current.life.start

    @property
    def step_number(self) -> int:
        """The number of the last step in this life; 0 before the first."""
        step = self._current.step
        return 0 if step is None else step.number

    @property
    def now_ms(self) -> float:
        """Milliseconds since the start of this life, on the node's clock."""
        return (self._current.now - self.start.now) / 1000

    @property
    def wall_us(self) -> int:
        """The node's wall clock, µs since the Unix epoch."""
        step = self._current.step
        return self.start.wall_us if step is None else step.wall_us

    # -- what happened ---------------------------------------------------------------------------

    @property
    def recorded(self) -> RecordedStep | None:
        """The last step as it was recorded; None before the first."""
        return self._current.step

    @property
    def events(self) -> Sequence[ReplicaEvent]:
        """What the replica took in the last step. Requests that arrive together are in one step."""
        step = self._current.step
        return () if step is None else step.events

    @property
    def event(self) -> ReplicaEvent | None:
        """The event of the last step, or the last one of several; None if it had none."""
        return self.events[-1] if self.events else None

    @property
    def effects(self) -> Sequence[ReplicaEffect]:
        """What the replica returned in the last step."""
        return self._current.effects

    @property
    def kinds(self) -> list[str]:
        """What a query can find in the last step: kinds of trace records, and names of events, messages and effects."""
        return [*dict.fromkeys(step_kinds(self._current))]

    @property
    def error(self) -> str:
        """The error that the last step raised, or the start of the replica; empty if there was none."""
        return self._current.error

    @property
    def difference(self) -> Difference | None:
        """The first step whose effects are not the recorded ones; None if all were equal until now."""
        return self._difference

    @property
    def end(self) -> RecordingEnd | None:
        """How the recording of this life ends; None before its end."""
        return self._current.end

    @property
    def gaps(self) -> list[str]:
        """The lives whose recording has a gap, until now, each with what is missing."""
        return [
            f"life {life}: {end.text}"
            for life, end in self._ends.items()
            if end.kind in ("missing", "unrecorded")
        ]

    @property
    def has_not_started(self) -> bool:
        """Whether the replica could not start in this life: see `error`."""
        return self._current.replica is None

    @property
    def replica(self) -> Replica:
        """The replica as it is now. Look at everything, and change nothing.

        Raises:
            ConfigError: it did not start in this life.
        """
        replica = self._current.replica
        if replica is None:
            raise ConfigError(f"the replica did not start in life {self.life}: {self.error}")
        return replica

    @property
    def state(self) -> NodeState:
        """The state of the node now, as `World.node` gives it.

        Raises:
            ConfigError: as `replica`.
        """
        replica = self.replica
        core = replica.core.status()
        return NodeState(
            self.node_id,
            True,
            False,
            core.role,
            core.term,
            core.leader_id,
            core.commit_index,
            replica.applied_index,
            core.last_log_index,
            replica.machine.state_hash(),
        )

    # -- onwards ---------------------------------------------------------------------------------

    def step(self) -> bool:
        """Take the next step. After the last one of a life, the next life begins.

        Returns:
            False if there is no further step: see `end`.

        Raises:
            ConfigError: the recording is damaged here, or the replica raised an error that was not recorded.
        """
        while self._current.upcoming is None:
            self._note_end()
            if self._place + 1 == len(self._lives):
                return False
            self._place += 1
            self._current = LifeReplay(self._lives[self._place], self._machine)
        self._current.advance()
        self._note_difference()
        return True

    def _note_end(self) -> None:
        self._note_difference()
        end = self._current.end
        if end is not None:
            self._ends[self.life] = end

    def _note_difference(self) -> None:
        if self._difference is None:
            self._difference = self._current.difference

    def run(self) -> Difference | None:
        """Step to the end, or to the first step whose effects differ, which is returned."""
        self.run_until(lambda replay: replay.difference is not None)
        return self._difference

    def run_until(self, goal: float | str | Callable[[Replay], bool]) -> bool:
        """Step until a time, or until something happened.

        Args:
            goal: milliseconds since the start of the life: the last step before or at this time is the last one taken.
                Or a query of one step, such as `kind=role role=leader` or `kind=AppendEntries from=2`: its kind is
                that of a trace record, or the name of an event, of a message or of an effect. Or a function that takes
                this replay and is called after each step.

        Returns:
            Whether it was reached.

        Raises:
            ConfigError: the goal is none of these, or as `step`.
        """
        if isinstance(goal, str):
            return self.run_until(self.query(goal))
        if callable(goal):
            while self.step():
                if goal(self):
                    return True
            return False
        last = self.start.now + _microseconds(goal)
        while True:
            following = self._current.upcoming
            if following is None or following.now > last:
                return following is not None
            self.step()

    def query(self, text: str) -> Callable[[Replay], bool]:
        """A function that says whether the last step is one that the query describes.

        Raises:
            ConfigError: it is no query.
        """
        query = parse_query(text)
        return lambda replay: step_matches(replay._current, query)


def _microseconds(time_ms: object) -> float:
    if isinstance(time_ms, bool) or not isinstance(time_ms, int | float) or math.isnan(time_ms):
        raise ConfigError(
            f"{time_ms!r:.100} is no time: give milliseconds since the start of the life"
        )
    return time_ms * 1000


def _lives_in(path: Path, node: int | None) -> list[Life]:
    if not is_recording(path) and path.is_file() and path.suffix == ".qrec":
        return read_lives(path)  # it raises the error
    if not is_recording(path):
        return record_again(path, node)
    lives = read_lives(path)
    owner = lives[0].start.node_id
    if node not in (None, owner):
        raise ConfigError(f"{path} is a recording of node {owner}, not of node {node}")
    return lives


def record_again(path: Path, node: int | None) -> list[Life]:
    """Simulate a stored run again, and record one node.

    Raises:
        ConfigError: it is no stored run, or has no such node.
    """
    stored = load_stored_run(path)
    world = World(stored.scenario, stored.seed)
    if node is None:
        node = stored.first_violated_node or min(world.nodes)
    if node not in world.nodes:
        raise ConfigError(f"node {node} is not in the run of {path}: there are {[*world.nodes]}")
    content = bytearray()

    def sink_of(each: int) -> Callable[[bytes], object] | None:
        return content.extend if each == node else None

    world.record(sink_of)
    try:
        world.run()
    finally:
        world.close()
    return read_lives(bytes(content))
