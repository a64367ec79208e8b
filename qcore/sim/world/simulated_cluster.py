"""Builds a run from a scenario and a seed: the nodes, the network, the clients and the timeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qcore.core.entry import DurableState, Entry, HardState, Membership
from qcore.core.version import FIRST_VERSION, KEYS_SINCE_RULES, ClusterVersion
from qcore.errors import ConfigError
from qcore.machines.interface import StateMachine, version_support
from qcore.release import __version__
from qcore.sim.determinism.determinism_check import DeterminismReport
from qcore.sim.faults.action_table import make_actions
from qcore.sim.faults.admin_client import address_of
from qcore.sim.faults.ledger import FaultLedger
from qcore.sim.faults.selector_resolver import SelectorResolver
from qcore.sim.faults.standing_faults import StandingFaults
from qcore.sim.faults.timeline_runner import TimelineRunner
from qcore.sim.faults.triggers import ArmedTriggers
from qcore.sim.invariants import Invariants
from qcore.sim.invariants.watch_checker import WatchChecker, WatcherLog
from qcore.sim.oracles.state_oracles import StateOracles
from qcore.sim.oracles.user_oracles import Oracles, checked_model, oracles_in, together
from qcore.sim.scenario.load import as_scenario
from qcore.sim.scenario.model import Scenario
from qcore.sim.scenario.specs.kind_rules import reject_collections
from qcore.sim.scenario.values import microseconds
from qcore.sim.verdict.log_queries import NodeLogs
from qcore.sim.verdict.monitor import Monitor
from qcore.sim.workload.collections.collection_workload import CollectionWorkload
from qcore.sim.workload.collections.collections_machine import CollectionsMachine
from qcore.sim.workload.custom_machine import (
    CustomMachine,
    load_checks,
    load_custom_machine,
)
from qcore.sim.workload.operation_history import OperationHistory
from qcore.sim.workload.operations import (
    ClientOperation,
    CustomMachineCodec,
    OperationCodec,
    RegisterCodec,
    codec_for,
)
from qcore.sim.workload.sim_client import ReadMix, RequestMessage, ResponseMessage, SimClient
from qcore.sim.workload.sim_watcher import SimWatcher
from qcore.sim.workload.user_code import LoadedProgram, find_program, given_program
from qcore.sim.workload.workload import ClientWorkload, SessionWorkload
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.closed_connections import close_connection
from qcore.sim.world.hosts.segments import Segment
from qcore.sim.world.link_builder import LinkBuilder
from qcore.sim.world.message_world import Ends, MessageWorld, NodeWorld
from qcore.sim.world.network import Link, Network
from qcore.sim.world.node.disk import SimDisk
from qcore.sim.world.node.node_clock import WALL_EPOCH_US, NodeClock
from qcore.sim.world.node.node_machine import machine_factory
from qcore.sim.world.random_streams import Streams
from qcore.sim.world.services import Services
from qcore.sim.world.simulated_node import SimulatedNode
from qcore.trace import TraceOrigin, TraceWriter

if TYPE_CHECKING:
    from qcore.client.programs.program_context import ClientProgram
    from qcore.sim.world.programs.program_runner import ProgramRunner


#: How often clients that wait for the first leader look for it.
_LEADER_CHECK_US: Final = 1000


class SimulatedCluster:
    """One run. Call `run()`, then look at its parts.

    Args:
        scenario: a scenario, its path, or the name of a shipped one. What it leaves to the seed is drawn.
        seed: decides every random choice.
        trace: receives the trace.
        custom_machine: a custom state machine, for a scenario that names none.
        oracles: judges of the run, in addition to those in the files of the machine and of the scenario's `checks`.
        program: a client program, which every client runs.

    Raises:
        ConfigError: the scenario names a state machine that cannot be loaded, or names one in addition to
            `custom_machine`, or needs registers although the machine is custom; or an oracle is unusable.
    """

    def __init__(
        self,
        scenario: Scenario | Path | str,
        seed: int,
        trace: TraceWriter,
        custom_machine: CustomMachine | None = None,
        oracles: Oracles | None = None,
        program: ClientProgram | None = None,
    ) -> None:
        self.given_scenario = as_scenario(scenario)
        scenario = self.given_scenario.drawn(seed)
        self.scenario = scenario
        if custom_machine is not None and "machine" in scenario.cluster.model_fields_set:
            raise ConfigError(
                f"two machines: the scenario names cluster.machine {scenario.cluster.machine}, and the caller gives "
                "another one; leave one of them out"
            )
        #: What the check of a user-defined machine found, once it is done.
        self.determinism: DeterminismReport | None = None
        self.user_machine = (
            custom_machine if custom_machine is not None else load_custom_machine(scenario)
        )
        module = self.user_machine.module if self.user_machine is not None else None
        in_files = together(oracles_in(module), oracles_in(load_checks(scenario)))
        self.oracles = together(in_files, oracles)
        self.model = checked_model(self.oracles, self.machine_factory())
        if self.user_machine is not None:
            reject_collections(scenario.workload, "a custom machine")
            scenario.reject_registers(has_model=self.model is not None)
        loaded = self._find_program(program)
        if loaded is not None:
            reject_collections(scenario.workload, "a client program")
        given = {"machine": custom_machine, "program": program, "oracles": oracles}
        self._given = tuple(name for name, value in given.items() if value is not None)
        self.seed = seed
        self._has_begun = False
        self.streams = Streams(seed)
        self.engine = Engine()
        self.ledger = FaultLedger(may_not_act=scenario.may_not_act)
        self.network = Network(self.engine, self.streams, self._on_drop)
        self.history = OperationHistory()
        self.workloads: list[ClientWorkload] = []
        ids = scenario.cluster.nodes
        joining = tuple(node for node in scenario.all_nodes if node not in ids)
        self.services = Services(
            self.engine,
            self.network,
            trace,
            Monitor(ids, self.network, joining),
            ArmedTriggers(),
            Invariants(lambda check, node, note: self.services.report(check, node, note)),
            [],
        )
        if scenario.workload.watchers.count:
            monitor = self.services.monitor
            self.services.watches = WatchChecker(
                self.services.report, lambda: monitor.highest_commit
            )
        self.state_oracles = StateOracles(
            self.oracles, self.services.report, lambda: self.engine.now
        )
        if self.state_oracles.needed:
            self.services.machine_observers.append(self.state_oracles)
        self.node_world = self._make_node_world(has_program=loaded is not None)
        self.nodes = {node: self._make_node(node) for node in scenario.all_nodes}
        self.logs = NodeLogs(self.nodes, self.services.histories)
        self.services.monitor.set_logs(self.logs)
        self.codec: OperationCodec = (
            CustomMachineCodec()
            if self.user_machine is not None
            else codec_for(scenario.cluster.machine, scenario.workload.keys)
        )
        workload = scenario.workload
        self.programs = self._make_programs(loaded)
        numbers = range(1, workload.clients + 1) if self.programs is None else range(0)
        self.clients = [self._make_client(number) for number in numbers]
        self.timeline_client = self._make_client(workload.clients + 1)
        self.watchers = self._make_watchers(self.services.watches)
        self._standing_faults = StandingFaults(self.services)
        self._connect()
        self.network.has_receiver = self._has_receiver
        self.network.on_close = partial(close_connection, self.network)
        vertices = [-number for number in range(1, workload.clients + 1)]
        vertices += [watcher.vertex for watcher in self.watchers]
        resolver = SelectorResolver(self.services.monitor, vertices, self._lease_holders)
        actions = make_actions(
            self.services,
            resolver,
            self.nodes,
            scenario.cluster,
            self.streams,
            self._standing_faults,
            self.timeline_client,
        )
        self.operation_actions = actions.operations
        self.admin_actions = actions.admin
        self.timeline_runner = TimelineRunner(
            scenario.timeline,
            self.engine,
            self.services.triggers,
            resolver,
            actions,
            self.ledger,
            self.streams,
        )

    def begin(self) -> None:
        """Start the nodes, the clients and the timeline, unless that has happened."""
        if self._has_begun:
            return
        self._has_begun = True
        scenario, trace = self.scenario, self.services.trace
        trace.begin(self._origin)
        trace.run(0, scenario.name, self.seed, scenario.cluster.nodes)
        self._standing_faults.links_changed()
        self.timeline_runner.schedule()
        for number in scenario.cluster.nodes:
            self.nodes[number].start()
        self.services.monitor.start(0)
        self.node_world.begin()
        self._start_clients()

    def run(self) -> None:
        """Simulate to the end of the scenario."""
        self.begin()
        self.engine.run(self.scenario.until_us)

    def _origin(self) -> TraceOrigin:
        text = self.scenario.to_yaml()
        has_files = ".py" in text and bool(self.scenario.source)
        return TraceOrigin(
            text,
            str(Path(self.scenario.source).resolve()) if has_files else "",
            self.seed,
            __version__,
            self._given,
        )

    def machine_factory(self) -> Callable[[], StateMachine]:
        """What makes the state machines of the nodes."""
        if self.user_machine is not None:
            return self.user_machine.make
        if self.scenario.workload.kind != "registers":
            return CollectionsMachine
        return machine_factory(self.scenario.cluster.machine)

    @property
    def has_custom_machine(self) -> bool:
        """Whether the nodes run a custom state machine."""
        return self.user_machine is not None

    @property
    def register_history(self) -> Iterator[ClientOperation]:
        """The operations on registers, once: without raw requests, and without operations on counters."""
        counters = self.scenario.counters
        return (op for op in self.history if not op.is_raw and op.key not in counters)

    # -- parts -----------------------------------------------------------------------------------

    def _make_node_world(self, *, has_program: bool) -> NodeWorld:
        if self.scenario.fidelity == "replica":
            return MessageWorld(self.services, self.streams)
        # Here, because it imports all of a real node, which few runs need.
        from qcore.sim.world.whole.whole_world import WholeWorld

        scenario = self.scenario
        return WholeWorld(
            self.services, self.streams, scenario.cluster, scenario.all_nodes, has_program
        )

    def _make_node(self, node: int) -> SimulatedNode:
        cluster = self.scenario.cluster
        rng = self.streams.get(f"node/{node}/disk")
        disk = SimDisk(
            self.engine,
            cluster.disk.latency_ms.sampler(rng),
            self._first_state(node),
            f"the disk of node {node}",
        )
        spec = cluster.clocks.get(node)
        base = self.streams.get(f"node/{node}/clock").randrange(1_000_000_000)
        clock = NodeClock(base)
        if spec is not None:
            clock = NodeClock(base, spec.drift_ppm, round(spec.offset_ms * 1000))
        sim_node = self.node_world.make_node(
            cluster.replica_config(node), disk, clock, self.machine_factory()
        )
        if spec is not None:
            fault = self.ledger.declare(f"clocks[{node}]", "clock")
            if clock.drift_ppm or clock.wall_offset_us:
                sim_node.clock_faults["all"] = fault
        return sim_node

    def _first_state(self, node: int) -> DurableState:
        """What the node's disk holds at the start of the run.

        The cluster has just been initialised: its log holds the configuration and cluster version. A node that joins
        later is pristine.
        """
        ids = self.scenario.cluster.nodes
        if node not in ids:
            return DurableState()
        rules = self.scenario.cluster.rules
        keys = tuple((member, self.node_world.first_key(member)) for member in ids)
        membership = Membership(
            voters=ids,
            addresses=tuple((member, address_of(member)) for member in ids),
            cluster_id="simulated",
            keys=keys if rules >= KEYS_SINCE_RULES and keys[0][1] else (),
        )
        entries = [Entry(1, 1, "membership", membership.to_json(), WALL_EPOCH_US)]
        if rules > FIRST_VERSION.rules:
            support = version_support(self.machine_factory()())
            version = ClusterVersion(rules, support.machine, support.machine_max)
            entries.append(Entry(2, 1, "version", version.to_json(), WALL_EPOCH_US))
        return DurableState(HardState(term=1, voted_for=None, commit=len(entries)), None, entries)

    def _make_client(self, number: int) -> SimClient:
        client = SimClient(
            number,
            self.engine,
            self.network,
            self.scenario.all_nodes,
            self.codec,
            self.services.trace,
            self.history,
            self.streams.get(f"client/{number}/read_kind"),
        )
        workload = self.scenario.workload
        client.reads = ReadMix(workload.read_kind, workload.max_staleness_ms)
        client.report = self.services.report
        return client

    def _find_program(self, given: ClientProgram | None) -> LoadedProgram | None:
        """The client program of the run, if there is one.

        Raises:
            ConfigError: it cannot be loaded, or the clients of a custom machine have nothing to ask.
        """
        machine, workload = self.user_machine, self.scenario.workload
        if given is not None:
            return given_program(self.scenario, given)
        asks = machine is None or machine.requests is not None
        if machine is not None and machine.requests is not None:
            return None
        program = find_program(self.scenario, machine.module if machine is not None else None)
        if not asks and program is None and workload.clients:
            raise ConfigError(
                f"the clients of {self.scenario.cluster.machine} have nothing to ask: give workload.requests, or "
                "define `requests(rng)` or `async def client(ctx)` in the file of the machine; or set "
                "workload.clients to 0"
            )
        return program

    def _make_programs(self, program: LoadedProgram | None) -> ProgramRunner | None:
        workload = self.scenario.workload
        if program is None or not workload.clients:
            if workload.program_faults is not None:
                raise ConfigError(
                    "workload.program_faults are faults of clients that run a program, and no client does: name one "
                    "with workload.program, give run_scenario a program, or leave program_faults out"
                )
            return None
        # Here, because it imports the client library and the request handlers of real nodes, which few runs need.
        from qcore.sim.world.programs.program_runner import ProgramRunner

        return ProgramRunner(
            program.run,
            program.name,
            workload.clients,
            self.services,
            self.node_world.program_places(),
            [address_of(node) for node in self.nodes],
            self.streams,
            self.history,
            has_registers=isinstance(self.codec, RegisterCodec),
            faults=workload.program_faults,
            ledger=self.ledger,
        )

    def _make_watchers(self, checker: WatchChecker | None) -> list[SimWatcher]:
        if checker is None:
            return []
        scenario = self.scenario
        workload = scenario.workload
        spec = workload.watchers
        topics = spec.topics or [f"k{number}" for number in range(workload.keys)]
        watchers: list[SimWatcher] = []
        for number in range(spec.count):
            vertex = workload.clients + 2 + number  # after the clients and that of the timeline
            log = WatcherLog(vertex, topics[number % len(topics)])
            checker.logs.append(log)
            watchers.append(
                SimWatcher(
                    log,
                    spec,
                    workload.timeout_ms,
                    self.engine,
                    self.network,
                    scenario.all_nodes,
                    scenario.workload_ends_us,
                    self.services.trace,
                    self.streams.get(f"watcher/{vertex}"),
                    checker,
                    lambda: self.history.highest_acknowledged,
                )
            )
        return watchers

    def _connect(self) -> None:
        builder = LinkBuilder(
            self.scenario.network, self.network, self.ledger, self._standing_faults
        )
        ends = Ends(self.clients, self.timeline_client, self.watchers, self.programs)
        self.node_world.connect(builder, ends)
        builder.finish(self.scenario.all_nodes)
        self.node_world.attach(ends)

    # -- clients ---------------------------------------------------------------------------------

    def _start_clients(self) -> None:
        workload = self.scenario.workload
        if workload.wait_for_leader and not self.services.monitor.record.leaders:
            self.engine.after(_LEADER_CHECK_US, self._start_clients)
            return
        start_us = microseconds(workload.start_ms)
        if self.codec.setup:
            self._set_up(0, start_us)
        else:
            self._start_load(start_us)

    def _set_up(self, number: int, start_us: int) -> None:
        """Commit the setup commands from `number` on, one after the other. Then let the clients begin."""
        if number == len(self.codec.setup):
            self._start_load(max(start_us, self.engine.now))
            return

        def done(op: ClientOperation) -> None:
            if op.outcome == "ok":
                self.codec.take_setup_result(number, str(op.output))
                self._set_up(number + 1, start_us)
            else:  # no leader yet, or the response was lost; setup commands may be repeated
                self._set_up(number, start_us)

        command = self.codec.setup[number]
        self.timeline_client.begin_raw("write", command, timeout_ms=1000, then=done, hidden=True)

    def _start_load(self, start_us: int) -> None:
        spec = self.scenario.workload
        for watcher in self.watchers:
            watcher.log.request = self.codec.watch_request(watcher.log.topic)
            self.engine.at(start_us, watcher.start)
        if self.programs is not None:
            self.programs.start(start_us, self.scenario.workload_ends_us)
            return
        if not self.codec.has_cas:
            spec = spec.model_copy(update={"cas_fraction": 0.0})
        kind = SessionWorkload if spec.sessions else ClientWorkload
        if spec.kind != "registers":
            kind = CollectionWorkload
        for client in self.clients:
            load = kind(
                client,
                self.engine,
                spec,
                self.streams.get(f"client/{client.number}"),
                self.scenario.workload_ends_us,
                self.user_machine.requests if self.user_machine is not None else None,
            )
            self.workloads.append(load)
            cluster = self.scenario.cluster
            if isinstance(load, SessionWorkload) and cluster.rules >= 2:
                bound = 100 - cluster.replica_config(cluster.nodes[0]).raft.max_clock_drift_percent
                load.shortest_life_us = int(spec.session_lifetime_ms * 10 * bound)
            load.start(start_us)

    def _has_receiver(self, link: Link) -> bool:
        """Whether a message on the link has an effect on arrival.

        A request to a dead process has one: the node refuses the connection, unless its power is off.
        """
        if link.target < 0:
            return True
        node = self.nodes[link.target]
        answers_for_itself = link.source < 0 or self.scenario.fidelity == "node"
        return node.up or (answers_for_itself and node.powered)

    def _lease_holders(self) -> list[int]:
        """The nodes that would now serve a lease read; a frozen one among them, if its lease has not run out."""
        now = self.engine.now
        return [
            number
            for number, node in self.nodes.items()
            if node.replica is not None and node.replica.core.holds_lease(node.clock.local(now))
        ]

    # -- lost messages ---------------------------------------------------------------------------

    def _on_drop(self, link: Link, payload: object, message_id: str, why: str) -> None:
        if isinstance(payload, Segment) and link.source > 0 and link.target > 0:
            message_id = payload.trace_id(link.source)  # what clients lose is in no trace
        if message_id and not isinstance(payload, RequestMessage | ResponseMessage):
            name = type(payload).__name__
            self.services.trace.drop(
                self.engine.now, link.target, link.source, message_id, name, why
            )
