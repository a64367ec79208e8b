"""`ProgramRunner`: runs a client program with every client of a simulated run, from its start to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Final

from qcore.client.programs.program_context import ClientProgram
from qcore.sim.faults.ledger import FaultLedger
from qcore.sim.scenario.specs.program_faults_spec import ProgramFaultsSpec
from qcore.sim.scenario.values import microseconds
from qcore.sim.workload.operation_history import OperationHistory
from qcore.sim.world.network import Receiver
from qcore.sim.world.programs.error_text import error_text
from qcore.sim.world.programs.lives.process_faults import ProcessFaults, client_clock
from qcore.sim.world.programs.lives.program_process import (
    Json,
    ProgramJob,
    ProgramProcess,
    report,
    stream_name,
)
from qcore.sim.world.programs.program_place import ProgramPlace, ProgramPlaces
from qcore.sim.world.programs.sim_loop import MAX_TURNS_AT_ONE_TIME, SimLoop
from qcore.sim.world.random_streams import Streams
from qcore.sim.world.services import Services

#: After the end of the run, the programs get so many turns to leave their `finally` blocks.
_LAST_TURNS: Final = 1000


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
        faults: the faults of the processes; None for none.
        ledger: has a line for the faults.

    Attributes:
        processes: the processes of the clients, by number of the client.
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
        faults: ProgramFaultsSpec | None,
        ledger: FaultLedger,
    ) -> None:
        self._name = name
        self._services = services
        self._streams = streams
        self._is_finished = False
        self._places = places
        self._spec = faults
        self._every = None if faults is None else faults.every_ms
        self._fault = None
        #: How many generators each life of a client has made, by the name of the first one.
        self._generators: dict[str, int] = {}
        if self._every is not None:
            self._fault = ledger.declare("workload.program_faults", "program_faults")
        job = ProgramJob(
            program,
            name,
            clients,
            services,
            list(addresses),
            streams,
            history,
            has_registers,
            self._lost_error,
            self._stood_still,
        )
        self.processes: list[ProgramProcess] = []
        for number in range(1, clients + 1):
            place = places.place(
                number,
                partial(self._new_rng, number),
                client_clock(number, faults, streams),
                has_faults=self._every is not None,
            )
            self.processes.append(ProgramProcess(number, place, job))

    def _new_rng(self, client: int) -> Random:
        """Another generator at each call, as `Runtime.new_rng` says."""
        name = stream_name(f"program/{client}/client", self.processes[client - 1].lives)
        number = self._generators[name] = self._generators.get(name, 0) + 1
        return self._streams.get(name if number == 1 else f"{name}/{number}")

    def connect(
        self, connect_client: Callable[[ProgramPlace, Mapping[int, Receiver]], None]
    ) -> None:
        """Connect every client with every node.

        Args:
            connect_client: creates the links between a client and the nodes with these receivers.
        """
        receivers = self._places.receivers()
        for process in self.processes:
            connect_client(process.place, receivers)

    def attach(self) -> None:
        """Record the links, once all of them exist."""
        for process in self.processes:
            process.place.attach()
        self._places.attach()

    def start(self, start_us: int, stop_us: int) -> None:
        """Begin the programs at one time, and cancel those that still run at another."""
        engine = self._services.engine
        engine.at(start_us, partial(self._begin_all, stop_us))
        engine.at(stop_us, self._stop_all)

    def _begin_all(self, stop_us: int) -> None:
        for process in self.processes:
            process.begin()
        spec, every, fault = self._spec, self._every, self._fault
        if spec is None or every is None or fault is None:
            return
        until_us = stop_us if spec.until_ms is None else min(stop_us, microseconds(spec.until_ms))
        engine = self._services.engine
        for process in self.processes:
            ProcessFaults(
                spec, every, process, fault, engine, self._streams, until_us, stop_us
            ).start()

    # -- the end -------------------------------------------------------------------------------------

    def _stop_all(self) -> None:
        """Cancel the programs that still run, as the load of other clients ends at this time."""
        for process in self.processes:
            process.stop()

    def finish(self) -> None:
        """End all programs, after the run. A program that does not end is reported as waiting. May be called again."""
        if self._is_finished:
            return
        self._is_finished = True
        for process in self.processes:
            process.finish()
        for process in self.processes:
            process.cancel_tasks()
        loops: dict[SimLoop, None] = {}
        for process in self.processes:
            loops.update(dict.fromkeys((*process.loops, process.place.loop)))
        for _ in range(_LAST_TURNS):
            ran = False
            for loop in loops:
                ran |= loop.run_ready()
            if not ran:
                break
        for process in self.processes:
            if process.is_stopping and process.outcome == "waiting":
                process.report(
                    f"it was cancelled at the end of the load and went on, at {process.waited_at}: an `except:` or "
                    "`except BaseException:` keeps asyncio.CancelledError; write `except Exception:`"
                )
        for loop in loops:
            loop.report_failed_tasks()
        for process in self.processes:
            process.close()
        for loop in loops:
            loop.close()

    def _lost_error(self, owner: int, error: BaseException, what: str) -> None:
        report(self._services, self._name, owner, f"{what} raised {error_text(error)}")

    def _stood_still(self) -> None:
        """Report programs that take turns for ever without waiting for any time."""
        report(
            self._services,
            self._name,
            0,
            f"the programs took {MAX_TURNS_AT_ONE_TIME} turns while no simulated time passed, so they were stopped: a "
            "loop awaits nothing that takes time; let it await an operation or asyncio.sleep(0.01)",
        )

    def metrics(self) -> list[Json]:
        """What became of each program, for the metrics of the run."""
        return [process.metrics() for process in self.processes]
