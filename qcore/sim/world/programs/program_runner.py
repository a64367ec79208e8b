"""`ProgramRunner`: runs a client program with every client of a simulated run, from its start to its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from qcore.client.login.credentials import Credentials
from qcore.client.programs.program_context import ClientProgram, ProgramContext, ProgramRecord
from qcore.sim.workload.operation_history import OperationHistory
from qcore.sim.world.network import Receiver
from qcore.sim.world.programs.error_text import error_text, waiting_place
from qcore.sim.world.programs.operation_records import OperationRecords
from qcore.sim.world.programs.program_place import ProgramPlace, ProgramPlaces
from qcore.sim.world.programs.recorded_client import RecordedClient
from qcore.sim.world.programs.sim_loop import MAX_TURNS_AT_ONE_TIME
from qcore.sim.world.random_streams import Streams
from qcore.sim.world.services import Services

#: The values that `json.dumps` accepts.
Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

#: After the end of the run, the programs get so many turns to leave their `finally` blocks.
_LAST_TURNS: Final = 1000

#: How a program ended.
ProgramOutcome = Literal["ended", "failed", "stopped", "waiting"]


@dataclass(slots=True)
class ProgramState:
    """The program of one client.

    Attributes:
        client: the number of the client.
        outcome: `ended`: it returned. `failed`: it raised an error. `stopped`: it was cancelled at the end of the load,
            and ended. `waiting`: it did not end. None before it has begun.
        waited_at: where it waited when it was cancelled, or at the end of the run.
        is_stopping: whether it was cancelled at the end of the load.
        ended_us: when it ended.
        records: what it recorded.
    """

    client: int
    place: ProgramPlace
    task: asyncio.Task[None] | None = None
    outcome: ProgramOutcome | None = None
    waited_at: str = ""
    is_stopping: bool = False
    ended_us: int = 0
    records: list[ProgramRecord] = field(default_factory=list)


class ProgramRunner:
    """The client programs of one run.

    Args:
        program: the program.
        name: its name in reports.
        clients: how many clients run it.
        services: the shared parts of the run.
        places: makes the places of the programs.
        addresses: the addresses of the nodes.
        streams: give each client its generators.
        history: receives the operations.
        has_registers: whether the state machine is the register machine.

    Attributes:
        states: the programs, by number of the client.
    """

    def __init__(
        self,
        program: ClientProgram,
        name: str,
        clients: int,
        services: Services,
        places: ProgramPlaces,
        addresses: Sequence[str],
        streams: Streams,
        history: OperationHistory,
        *,
        has_registers: bool,
    ) -> None:
        self._program = program
        self._name = name
        self._clients = clients
        self._services = services
        self._streams = streams
        self._history = history
        self._has_registers = has_registers
        self._is_finished = self._is_closed = False
        self._places = places
        self._addresses = list(addresses)
        self.states = [
            ProgramState(
                number,
                places.place(
                    number,
                    lambda number=number: streams.get(f"program/{number}/client"),  # type: ignore[misc]  # a default binds the number
                ),
            )
            for number in range(1, clients + 1)
        ]
        #: Their event loops, each once.
        self._loops = list(dict.fromkeys(state.place.loop for state in self.states))
        for loop in self._loops:
            loop.on_error = self._lost_error
            loop.on_standstill = self._stood_still

    def connect(
        self, connect_client: Callable[[ProgramPlace, Mapping[int, Receiver]], None]
    ) -> None:
        """Connect every client with every node.

        Args:
            connect_client: creates the links between a client and the nodes with these receivers.
        """
        receivers = self._places.receivers()
        for state in self.states:
            connect_client(state.place, receivers)

    def attach(self) -> None:
        """Record the links, once all of them exist."""
        for state in self.states:
            state.place.attach()
        self._places.attach()

    def start(self, start_us: int, stop_us: int) -> None:
        """Begin the programs at one time, and cancel those that still run at another."""
        engine = self._services.engine
        engine.at(start_us, self._begin_all)
        engine.at(stop_us, self._stop_all)

    # -- one program ---------------------------------------------------------------------------------

    def _begin_all(self) -> None:
        for state in self.states:
            self._trace(state.client, "began")
            state.task = state.place.loop.create_task(
                self._run(state), name=f"client-{state.client}", owner=state.client
            )

    async def _run(self, state: ProgramState) -> None:
        number = state.client
        first = (number - 1) % len(self._addresses)
        endpoints = [*self._addresses[first:], *self._addresses[:first]]
        records = OperationRecords(
            number,
            self._has_registers,
            self._services.engine,
            self._services.trace,
            self._history,
        )

        def new_client(credentials: Credentials | None = None) -> RecordedClient:
            place = state.place
            return RecordedClient(endpoints, place.runtime, place.connect, records, credentials)

        rng = self._streams.get(f"program/{number}")
        context = ProgramContext(
            number,
            self._clients,
            new_client(),
            rng,
            lambda record: self._record(state, record),
            new_client,
        )
        try:
            await self._program(context)
            self._ended(state, "ended")
        except asyncio.CancelledError:
            if state.is_stopping:
                self._ended(state, "stopped")
            elif not self._is_finished:  # else it was recorded as waiting
                self._fail(state, "was cancelled, and not by the simulator")
        except (Exception, SystemExit) as error:  # noqa: BLE001  # user code may raise anything
            self._fail(state, f"raised {error_text(error)}")
        finally:
            await context.close()
            current = asyncio.current_task()
            for task in state.place.loop.tasks_of(number):
                if task is not current:
                    task.cancel()

    def _fail(self, state: ProgramState, why: str) -> None:
        if self._is_closed:
            return  # it was reported as waiting, and even closing its coroutine did not end it
        self._ended(state, "failed")
        self._report(state.client, why)

    def _ended(self, state: ProgramState, outcome: ProgramOutcome) -> None:
        state.outcome, state.ended_us = outcome, self._services.engine.now
        where = f"waited at {state.waited_at}" if outcome == "stopped" else ""
        self._trace(state.client, outcome, where)

    def _report(self, client: int, why: str) -> None:
        now_ms = self._services.engine.now / 1000
        who = f", client {client}" if client else ""
        note = f"program {self._name}{who}, at {now_ms:g} ms: {why}"
        self._services.report("client_program", 0, note)

    def _record(self, state: ProgramState, record: ProgramRecord) -> None:
        state.records.append(record)
        details = json.dumps(record.details, default=str) if record.details else ""
        self._trace(state.client, "record", f"{record.what} {details}".strip())

    def _trace(self, client: int, phase: str, note: str = "") -> None:
        """Record a phase of a program, as an operation called `program`."""
        now = self._services.engine.now
        self._services.trace.op(now, 0, phase, client, 0, "program", self._name, None, note)

    # -- the end -------------------------------------------------------------------------------------

    def _stop_all(self) -> None:
        """Cancel the programs that still run, as the load of other clients ends at this time."""
        for state in self.states:
            if state.task is not None and not state.task.done():
                state.is_stopping = True
                state.waited_at = waiting_place(state.task)
                state.task.cancel()

    def finish(self) -> None:
        """End all programs, after the run. A program that does not end is reported as waiting. May be called again."""
        if self._is_finished:
            return
        self._is_finished = True
        for state in self.states:
            if state.task is not None and not state.task.done():
                state.waited_at = waiting_place(state.task)
                if state.outcome is None:
                    self._ended(state, "waiting")
        for state in self.states:
            for task in state.place.loop.tasks_of(state.client):
                task.cancel()
        for _ in range(_LAST_TURNS):
            ran = False
            for loop in self._loops:
                ran |= loop.run_ready()
            if not ran:
                break
        for state in self.states:
            if state.is_stopping and state.outcome == "waiting":
                self._report(
                    state.client,
                    f"it was cancelled at the end of the load and went on, at {state.waited_at}: an `except:` or "
                    "`except BaseException:` keeps asyncio.CancelledError; write `except Exception:`",
                )
        for loop in self._loops:
            loop.report_failed_tasks()
        self._is_closed = True
        for loop in self._loops:
            loop.close()

    def _lost_error(self, owner: int, error: BaseException, what: str) -> None:
        self._report(owner, f"{what} raised {error_text(error)}")

    def _stood_still(self) -> None:
        """Report programs that take turns for ever without waiting for any time."""
        self._report(
            0,
            f"the programs took {MAX_TURNS_AT_ONE_TIME} turns while no simulated time passed, so they were stopped: a "
            "loop awaits nothing that takes time; let it await an operation or asyncio.sleep(0.01)",
        )

    def metrics(self) -> list[Json]:
        """What became of each program, for the metrics of the run."""
        return [
            {
                "client": state.client,
                "outcome": state.outcome,
                "ended_ms": state.ended_us / 1000,
                "waited_at": state.waited_at,
                "records": [
                    {
                        "t_ms": round(record.time_s * 1000, 3),
                        "what": record.what,
                        **record.details,
                    }
                    for record in state.records
                ],
            }
            for state in self.states
        ]
