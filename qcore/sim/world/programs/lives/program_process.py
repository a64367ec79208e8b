"""`ProgramProcess`: the process of one client that runs a program, from its first life to its last."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, TypeAlias

from qcore.client.login.credentials import Credentials
from qcore.client.programs.program_context import (
    ClientProgram,
    ExpectationFailed,
    ProgramContext,
    ProgramRecord,
)
from qcore.sim.workload.operation_history import OperationHistory
from qcore.sim.world.programs.error_text import error_text, waiting_place
from qcore.sim.world.programs.operation_records import OperationRecords
from qcore.sim.world.programs.program_place import ProgramPlace
from qcore.sim.world.programs.recorded_client import RecordedClient
from qcore.sim.world.programs.sim_loop import OnError, SimLoop
from qcore.sim.world.random_streams import Streams
from qcore.sim.world.services import Services

#: The values that `json.dumps` accepts.
Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

#: How a program ended.
ProgramOutcome = Literal["ended", "failed", "stopped", "waiting", "killed"]


@dataclass(slots=True, frozen=True)
class ProgramJob:
    """What all clients of a run have in common.

    Attributes:
        program, name: the program, and its name in reports.
        clients: how many clients run it.
        services: the shared parts of the run.
        addresses: the addresses of the nodes.
        streams: give each client its generators.
        history: receives the operations.
        has_registers: whether the state machine is the register machine.
        on_error, on_standstill: see `SimLoop`.
    """

    program: ClientProgram
    name: str
    clients: int
    services: Services
    addresses: Sequence[str]
    streams: Streams
    history: OperationHistory
    has_registers: bool
    on_error: OnError
    on_standstill: Callable[[], None]


@dataclass(slots=True, eq=False)
class ProgramLife:
    """One life of the process.

    Attributes:
        number: from 1.
        began_us: when it began.
        operations: takes the operations of its clients.
        task: runs the program.
        is_over: whether it was killed, or the run is over. Nothing that its code does counts then.
    """

    number: int
    began_us: int
    operations: OperationRecords
    task: asyncio.Task[None] | None = None
    is_over: bool = False


@dataclass(slots=True, frozen=True)
class LifeRecord:
    """A record of the program, the life that made it, and when that life began, after the first one."""

    life: int
    began_ms: float
    record: ProgramRecord


@dataclass(slots=True, eq=False)
class ProgramProcess:
    """The process of one client.

    Args:
        client: the number of the client.
        place: where it runs.
        job: what all clients have in common.

    Attributes:
        life: the current life, or the last one; None before the program has begun.
        outcome: `ended`: the program returned. `failed`: it raised an error. `stopped`: it was cancelled at the end of
            the load, and ended. `waiting`: it did not end. `killed`: it was killed and has not started again. None
            before all that.
        waited_at: where it waited when it was cancelled or killed, or at the end of the run.
        is_stopping: whether it was cancelled at the end of the load.
        is_finished: whether the run is over.
        ended_us: when it ended.
        paused_at_us: since when it has been paused; None if it is not.
        lives, pauses, kills: how often it has begun, and how often it was paused and killed.
        records: what it recorded.
        loops: its event loops, one for each life with faults.
    """

    client: int
    place: ProgramPlace
    job: ProgramJob
    life: ProgramLife | None = None
    outcome: ProgramOutcome | None = None
    waited_at: str = ""
    is_stopping: bool = False
    is_finished: bool = False
    ended_us: int = 0
    paused_at_us: int | None = None
    lives: int = 0
    pauses: int = 0
    kills: int = 0
    records: list[LifeRecord] = field(default_factory=list)
    loops: list[SimLoop] = field(default_factory=list)
    _began_us: int = 0
    _operation_ids: Iterator[int] = field(default_factory=lambda: count(1))

    # -- one life ------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin the program."""
        job, now = self.job, self.job.services.engine.now
        self.lives += 1
        if self.lives == 1:
            self._began_us = now
        else:
            self.place.restart()
            self.outcome, self.waited_at = None, ""
        loop = self.place.loop
        loop.on_error, loop.on_standstill = job.on_error, job.on_standstill
        self.loops.append(loop)
        operations = OperationRecords(
            self.client,
            job.has_registers,
            job.services.engine,
            job.services.trace,
            job.history,
            self._operation_ids,
        )
        life = self.life = ProgramLife(self.lives, now, operations)
        self._trace("began", f"life {life.number}" if life.number > 1 else "")
        life.task = loop.create_task(
            self._run(life), name=f"client-{self.client}", owner=self.client
        )

    async def _run(self, life: ProgramLife) -> None:
        number, place, job = self.client, self.place, self.job
        loop, runtime = place.loop, place.runtime
        first = (number - 1) % len(job.addresses)
        endpoints = [*job.addresses[first:], *job.addresses[:first]]

        def new_client(credentials: Credentials | None = None) -> RecordedClient:
            return RecordedClient(endpoints, runtime, place.connect, life.operations, credentials)

        context = ProgramContext(
            number,
            job.clients,
            new_client(),
            job.streams.get(stream_name(f"program/{number}", life.number)),
            lambda record: self._record(life, record),
            new_client,
        )
        try:
            await job.program(context)
            self._ended(life, "ended")
        except asyncio.CancelledError:
            if self.is_stopping:
                self._ended(life, "stopped")
            elif not self.is_finished:  # else it was recorded as waiting
                self._fail(life, "was cancelled, and not by the simulator")
        except (Exception, SystemExit) as error:  # noqa: BLE001  # user code may raise anything
            self._fail(life, f"raised {error_text(error)}")
        finally:
            await context.close()
            current = asyncio.current_task()
            for task in loop.tasks_of(number):
                if task is not current:
                    task.cancel()

    def _fail(self, life: ProgramLife, why: str) -> None:
        if not life.is_over:
            self._ended(life, "failed")
            self.report(why)

    def _ended(self, life: ProgramLife, outcome: ProgramOutcome) -> None:
        if not life.is_over:
            self._set_outcome(outcome)

    def _set_outcome(self, outcome: ProgramOutcome) -> None:
        self.outcome, self.ended_us = outcome, self.job.services.engine.now
        where = f"waited at {self.waited_at}" if outcome in ("stopped", "killed") else ""
        self._trace(outcome, where)

    def _record(self, life: ProgramLife, record: ProgramRecord) -> None:
        if life.is_over:
            return
        began_ms = (life.began_us - self._began_us) / 1000
        self.records.append(LifeRecord(life.number, began_ms, record))
        details = json.dumps(record.details, default=str) if record.details else ""
        self._trace("record", f"{record.what} {details}".strip())

    def report(self, why: str) -> None:
        """Report that the program is wrong."""
        report(self.job.services, self.job.name, self.client, why)

    def _trace(self, phase: str, note: str = "") -> None:
        """Record a phase of the program, as an operation called `program`."""
        services, name = self.job.services, self.job.name
        services.trace.op(
            services.engine.now, 0, phase, self.client, 0, "program", name, None, note
        )

    # -- faults --------------------------------------------------------------------------------------

    @property
    def runs(self) -> bool:
        """Whether the program has begun and has not ended, and is neither paused nor killed."""
        return self.lives > 0 and self.outcome is None and self.paused_at_us is None

    def interrupt_after(self, callbacks: int, act: Callable[[], object]) -> None:
        """Call `act` between two steps of the program, when it has run so many more callbacks."""
        self.place.process.interrupt_after(callbacks, act)

    def pause(self) -> None:
        """Freeze the process, as SIGSTOP does."""
        self.pauses += 1
        self.paused_at_us = self.job.services.engine.now
        self._trace("paused")
        self.place.pause()

    def resume(self) -> None:
        """Let a paused process continue, as SIGCONT does."""
        self._trace("resumed")
        self.paused_at_us = None
        self.place.resume()

    def kill(self) -> None:
        """Kill the process, as SIGKILL does."""
        life = self.life
        assert life is not None, "the program has begun"
        self.kills += 1
        if life.task is not None:
            self.waited_at = waiting_place(life.task)
        for error in self.place.process.lost_errors():
            if isinstance(error, ExpectationFailed):
                self.report(f"a task that nothing awaited raised {error_text(error)}")
        life.operations.abandon()
        self.place.kill()
        self._set_outcome("killed")
        life.is_over = True

    # -- the end -------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Cancel the program if it still runs, because the load ends."""
        if self.paused_at_us is not None:
            self.resume()
        task = self._running_task()
        if task is not None:
            self.is_stopping = True
            self.waited_at = waiting_place(task)
            task.cancel()

    def _running_task(self) -> asyncio.Task[None] | None:
        life = self.life
        if life is None or life.is_over or life.task is None or life.task.done():
            return None
        return life.task

    def finish(self) -> None:
        """Note where the program waits at the end of the run, and let it continue to its `finally` blocks."""
        self.is_finished = True
        if self.paused_at_us is not None:
            self.paused_at_us = None
            self.place.resume()
        task = self._running_task()
        if task is not None:
            self.waited_at = waiting_place(task)
            if self.outcome is None:
                self._set_outcome("waiting")

    def cancel_tasks(self) -> None:
        """Cancel everything that the program still does."""
        if self.life is not None and not self.life.is_over:
            for task in self.place.loop.tasks_of(self.client):
                task.cancel()

    def close(self) -> None:
        """Nothing that the code of the program does from now on counts."""
        if self.life is not None:
            self.life.is_over = True

    def metrics(self) -> Json:
        """What became of the program, for the metrics of the run."""
        return {
            "client": self.client,
            "outcome": self.outcome,
            "ended_ms": self.ended_us / 1000,
            "waited_at": self.waited_at,
            "lives": self.lives,
            "pauses": self.pauses,
            "kills": self.kills,
            "records": [
                {
                    "t_ms": round(each.began_ms + each.record.time_s * 1000, 3),
                    "what": each.record.what,
                    **({"life": each.life} if self.lives > 1 else {}),
                    **each.record.details,
                }
                for each in self.records
            ],
        }


def stream_name(name: str, life: int) -> str:
    """The name of a random stream in a life of the process."""
    return name if life <= 1 else f"{name}/life/{life}"


def report(services: Services, program: str, client: int, why: str) -> None:
    """Report that a program is wrong. `client` is 0 if that is true of no single client."""
    who = f", client {client}" if client else ""
    now_ms = services.engine.now / 1000
    services.report("client_program", 0, f"program {program}{who}, at {now_ms:g} ms: {why}")
