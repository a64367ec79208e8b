"""`World`: a run that a program steps through, looks into and disturbs.

    world = World("leader_isolated", seed=7)
    world.run_until(lambda world: world.leader is not None)
    print(world.now_ms, world.leader, world.node(world.leader).log_length)
    world.do(isolate="leader")
    world.run_until(4000)
    print(world.result())

The same scenario and seed give the same trace, however the run is divided into steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from qcore.core.effects import Role
from qcore.errors import ConfigError
from qcore.recording import ByteSink
from qcore.recording.run_recordings import COLLECTIONS, RunRecordings
from qcore.sim.exit_guard import refuses_exit
from qcore.sim.judgement import judge_run
from qcore.sim.oracles.user_oracles import Oracles
from qcore.sim.scenario.frozen_model import error_text
from qcore.sim.scenario.model import Scenario
from qcore.sim.scenario.network_rules import scope_of
from qcore.sim.scenario.timeline import Item
from qcore.sim.scenario.validation_scope import validating
from qcore.sim.scenario.values import microseconds
from qcore.sim.verdict.determinism import ObservedMachines
from qcore.sim.verdict.result import RunResult
from qcore.sim.workload.custom_machine import CustomMachine
from qcore.sim.world.clock.engine import NEVER_US
from qcore.sim.world.simulated_cluster import SimulatedCluster
from qcore.trace import TraceWriter

if TYPE_CHECKING:
    from qcore.client.programs.program_context import ClientProgram


@dataclass(slots=True, frozen=True)
class NodeState:
    """The state of a simulated node at one moment.

    Attributes:
        node: its id.
        up, paused: whether its process runs, and whether it is frozen.
        role, term, leader: what it is, its current term, and the leader that it knows. Without a process: None, and the
            term on its disk.
        commit, applied: its commit index and its apply index; 0 without a process.
        log_length: the index of the last entry of its log.
        state_hash: the digest of its state machine; empty without a process.
    """

    node: int
    up: bool
    paused: bool
    role: Role | None
    term: int
    leader: int | None
    commit: int
    applied: int
    log_length: int
    state_hash: str


#: The keys of a timeline item that say when it fires.
_TIMES: Final = ("at_ms", "after_ms", "every_ms")


class World(SimulatedCluster):
    """One run of a scenario with a seed. Step through it, look at it, and let things happen in it.

    Its parts (`nodes`, `network`, `history`, `services`, ...) are those of `SimulatedCluster`.

    Args:
        scenario: a scenario, its path, or the name of a shipped one.
        seed: decides every random choice.
        trace: receives the trace.
        custom_machine: a custom state machine, for a scenario that names none.
        oracles: judges of the run, in addition to those in the file of the machine.
        program: a client program, which every client runs.

    Raises:
        ConfigError: as `run_scenario`.
    """

    @refuses_exit
    def __init__(
        self,
        scenario: Scenario | Path | str,
        seed: int = 1,
        trace: TraceWriter | None = None,
        custom_machine: CustomMachine | None = None,
        oracles: Oracles | None = None,
        program: ClientProgram | None = None,
    ) -> None:
        writer = TraceWriter() if trace is None else trace
        super().__init__(scenario, seed, writer, custom_machine, oracles, program)
        self._done: list[Item] = []
        self._observed: ObservedMachines | None = None

    @refuses_exit
    def begin(self) -> None:
        """Start the nodes, the clients and the timeline, unless that has happened."""
        if self._observed is None:
            self._observed = ObservedMachines(self)
        super().begin()

    def record(self, sink_of: Callable[[int], ByteSink | None]) -> None:
        """Record the nodes: what each takes, step by step, for `qcore.sim.Replay`. Call it before the first event.

        Args:
            sink_of: node -> what takes the lines of its recording; None for a node that is not recorded.

        Raises:
            ConfigError: the run has begun.
        """
        if self._observed is not None:
            raise ConfigError("record: the run has begun, and a recording holds whole lives")
        machine = self.scenario.cluster.machine
        if self.user_machine is not None:
            machine = self.user_machine.reference
        elif self.scenario.workload.kind != "registers":
            machine = COLLECTIONS
        self.services.recordings = RunRecordings(
            sink_of,
            machine,
            self.scenario.name,
            self.seed,
            watchable=self.services.watches is not None
            or self.programs is not None
            or self.scenario.fidelity == "node",
        )

    def __repr__(self) -> str:
        name, until_ms = self.scenario.name, self.scenario.until_ms
        return f"World({name!r}, seed {self.seed}, at {self.now_ms:g} of {until_ms:g} ms)"

    def close(self) -> None:
        """End what the run holds outside of it: the second process of the check of determinism.

        `result` does the same. Call it for a run that does not get that far.
        """
        if self.services.recordings is not None:
            self.services.recordings.finish()
        if self._observed is not None:
            self._observed.close()

    # -- time ------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> float:
        """Simulated milliseconds since the start of the run."""
        return self.engine.now / 1000

    @property
    def is_over(self) -> bool:
        """Whether the run has reached its end, `until_ms`."""
        return self.engine.now >= self.scenario.until_us

    @refuses_exit
    def step(self) -> bool:
        """Run the next event: a message arrives, a sync ends, a timer expires, ...

        Returns:
            False if no event is left before the end of the run. Then the run is over.
        """
        self.begin()
        if self.engine.next_us >= self.scenario.until_us:
            self.engine.run(self.scenario.until_us)
            return False
        self.engine.step()
        return True

    @refuses_exit
    def run(self) -> None:
        """Simulate to the end of the scenario."""
        super().run()

    @refuses_exit
    def run_until(
        self, time_or_predicate: float | Callable[[World], bool], limit_ms: float = math.inf
    ) -> bool:
        """Run until a time, or until something is true. The run ends at `until_ms` at the latest.

        Args:
            time_or_predicate: simulated milliseconds; the events of just this time have not happened yet. Or a function
                that takes this world and is called before the first and after every event.
            limit_ms: the time at which to stop although the predicate is false.

        Returns:
            Whether the time was reached, or the predicate is true.

        Raises:
            ConfigError: the time is not a number, or is in the past.
        """
        self.begin()
        last_us = min(self.scenario.until_us, _time_us(limit_ms))
        if callable(time_or_predicate):
            while not time_or_predicate(self):
                if self.engine.next_us >= last_us:
                    self.engine.run(last_us)
                    return bool(time_or_predicate(self))
                self.engine.step()
            return True
        until_us = _time_us(time_or_predicate)
        if until_us < self.engine.now:
            raise ConfigError(
                f"run_until({time_or_predicate:g}): the run is at {self.now_ms:g} ms, and time does not go back; make "
                "another World with the same scenario and seed to see it again"
            )
        self.engine.run(min(until_us, last_us))
        return self.engine.now >= until_us

    # -- what it is like now ---------------------------------------------------------------------

    @property
    def leader(self) -> int | None:
        """The running node that leads in the highest term; None if no node leads."""
        return self.services.monitor.leader

    def node(self, node: int) -> NodeState:
        """The state of a node now.

        Raises:
            ConfigError: there is no such node.
        """
        sim_node = self.nodes.get(node)
        if sim_node is None:
            raise ConfigError(f"node {node!r} is not in this run: there are {[*self.nodes]}")
        replica = sim_node.replica
        if replica is None:
            durable = sim_node.disk.durable
            last = durable.entries[-1].index if durable.entries else 0
            if durable.snapshot is not None:
                last = max(last, durable.snapshot.meta.last_included_index)
            return NodeState(
                node, False, False, None, durable.hard_state.term, None, 0, 0, last, ""
            )
        core = replica.core.status()
        return NodeState(
            node,
            True,
            sim_node.paused,
            core.role,
            core.term,
            core.leader_id,
            core.commit_index,
            replica.applied_index,
            core.last_log_index,
            replica.machine.state_hash(),
        )

    # -- what shall happen -----------------------------------------------------------------------

    def do(self, actions: Mapping[str, object] | None = None, /, **more: object) -> None:
        """Let something happen now: actions of a timeline, as in a scenario file.

            world.do(crash="leader", for_ms=500)
            world.do(partition=[[1, 2], [3, 4, 5]], label="cut")
            world.do(heal="cut")
            world.do({"cut": {"from": 1, "to": 2}})

        They fire at this moment, and what they cause follows with the next events. They are part of the trace and of
        the ledger of faults, with the names `do[0] crash`, `do[1] partition`, ...

        Args:
            actions: keys of a timeline item, without its time.
            more: the same, for keys that are Python names.

        Raises:
            ConfigError: the actions are invalid, or the run is over.
        """
        if self.is_over:
            raise ConfigError(f"do: the run is over: it ended at {self.scenario.until_ms:g} ms")
        self.begin()
        keys = {**(actions or {}), **more}
        if timed := [key for key in _TIMES if key in keys]:
            raise ConfigError(
                f"do: {timed[0]}: `do` acts now, and once; leave {', '.join(timed)} out"
            )
        try:
            with validating(scope_of(dict(self.scenario))):
                item = Item.model_validate({"at_ms": self.now_ms, **keys})
        except ValidationError as error:
            raise ConfigError(f"do: {error_text(error)}") from None
        timeline = (*self.scenario.timeline, *self._done, item)
        try:
            checked = self.scenario.model_copy(update={"timeline": timeline})
        except ConfigError as error:
            text = (
                str(error)
                .removeprefix("Scenario: ")
                .removeprefix(f"timeline[{len(timeline) - 1}]: ")
            )
            raise ConfigError(f"do: {text}") from None
        if strangers := sorted({*checked.all_nodes} - {*self.nodes}):
            raise ConfigError(
                f"do: join: {strangers} are not in this run: only nodes that the scenario's timeline names can join"
            )
        number = len(self._done)
        self._done.append(item)
        if item.is_random:
            item = checked.drawn(self.seed + number).timeline[-1]
        rng: Random = self.streams.get(f"do/{number}")
        self.timeline_runner.fire(item, f"do[{number}]", rng)

    # -- the verdict -----------------------------------------------------------------------------

    @cached_property
    def _verdict(self) -> RunResult:
        assert self._observed is not None, "a run that is over has begun"
        self._observed.finish()
        if self.programs is not None:
            self.programs.finish()
        return judge_run(self)

    @refuses_exit
    def result(self) -> RunResult:
        """The verdict on the whole run, the same as that of `run_scenario`.

        Raises:
            ConfigError: the run is not over.
        """
        if not self.is_over:
            raise ConfigError(
                f"the run is at {self.now_ms:g} of {self.scenario.until_ms:g} ms, and its verdict needs the "
                "end: call run() first"
            )
        verdict = self._verdict
        if self._done:
            calls = f"{len(self._done)} call{'' if len(self._done) == 1 else 's'} of world.do"
            verdict = replace(verdict, replay=f"{verdict.replay}  # without {calls}")
        return verdict


def _time_us(time_ms: object) -> int:
    if isinstance(time_ms, bool) or not isinstance(time_ms, int | float) or math.isnan(time_ms):
        raise ConfigError(f"{time_ms!r:.100} is no time: give simulated milliseconds")
    return NEVER_US if math.isinf(time_ms) else microseconds(time_ms)
