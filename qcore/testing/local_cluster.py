"""`LocalCluster`: a cluster of real nodes on this machine, to test a program against it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypedDict, Unpack

from qcore.client import Client, SyncClient
from qcore.client.programs.program_context import ClientProgram, ProgramRecord
from qcore.client.programs.run_programs import run_programs
from qcore.errors import ConfigError
from qcore.node.config import NodeConfig
from qcore.processes import NodeProcess, ProcessCluster, ProcessError, ProcessGuard
from qcore.settings import near, settings_of

#: Short enough for quick elections, long enough for a busy machine with two cores.
_QUICK_ELECTIONS: Final[Mapping[str, object]] = {
    "heartbeat_ms": 60,
    "election_timeout_min_ms": 300,
    "election_timeout_max_ms": 600,
}
#: The ends of the names of the nodes' traces and recordings.
_TRACE, _RECORDING = ".jsonl", ".qrec"
#: Settings that are arguments of the cluster.
_ARGUMENTS: Final = ("machine", "trace", "record")
#: The cluster chooses these itself.
_CHOSEN: Final = ("id", "data_dir", "ws_addr", "advertise_addr", *_ARGUMENTS)
#: How long the cluster may read the nodes' pages after `sign_in`, seconds.
_TOKEN_S: Final = 30 * 24 * 3600
#: How much of the log of each node remains after the cluster has ended, in characters.
_MAX_KEPT_LOG: Final = 100_000


class ClientOptions(TypedDict, total=False):
    """The options of a client: see `qcore.Client`."""

    timeout_s: float
    attempt_timeout_s: float
    silent_after_s: float
    exactly_once: bool
    admin: bool
    token: str
    token_file: Path | str
    user: str
    password: str


class LocalCluster:
    """A cluster of real nodes: one process for each, on the loopback interface. Use it as a context manager.

        with LocalCluster() as cluster:
            with cluster.sync_client() as client:
                client.create_entity("User", "ada")
                cluster.kill(cluster.wait_leader())
                client.create_entity("User", "bob")

    It starts the nodes, initialises the cluster, and waits for a leader. Node ids begin with 1. At the end it kills all
    nodes, also those that are paused. If the program itself is killed, its nodes end too.

    The methods block. In a coroutine, call those that wait with `asyncio.to_thread`.

    Args:
        size: the number of nodes.
        machine: the state machine: `entity`, `kv`, `register`, or a custom one as `FILE.py:CLASS` or `MODULE:CLASS`.
        settings: settings of `qcore node start`, by name, such as `{"max_clients": 10}`. By default the elections are
            quicker than those of a real node. If you set a heartbeat or an election timeout, the others have the
            defaults of a real node.
        directory: where the nodes keep data and logs. It must be empty, or not exist; it remains. By default a
            temporary directory, which is deleted at the end.
        trace: each node writes its trace. `traces` has the files.
        record: each node writes a recording, for `qcore.sim.Replay`. `recordings` has the files.
        timeout_s: how long each method may wait.

    Raises:
        ConfigError: an argument is wrong.
    """

    def __init__(
        self,
        size: int = 3,
        *,
        machine: str = "entity",
        settings: Mapping[str, object] | None = None,
        directory: Path | str | None = None,
        trace: bool = False,
        record: bool = False,
        timeout_s: float = 30.0,
    ) -> None:
        if size < 1:
            raise ConfigError(f"size is {size}; it must be at least 1")
        if timeout_s <= 0:
            raise ConfigError(f"timeout_s is {timeout_s:g}; it must be positive")
        self._size = size
        self._arguments = ["--machine", machine, *_arguments(settings or {})]
        self._directory = None if directory is None else Path(directory)
        #: The options that name a file of each node, and the ends of these files' names.
        self._files = {
            option: suffix
            for option, suffix, chosen in (
                ("--trace", _TRACE, trace),
                ("--record", _RECORDING, record),
            )
            if chosen
        }
        self._timeout_s = timeout_s
        self._nodes: ProcessCluster | None = None
        self._guard: ProcessGuard | None = None
        self._temporary: Path | None = None
        self._signed_in: ClientOptions = {}
        #: The end of each node's log, once the cluster has ended.
        self._kept_logs: dict[int, str] = {}

    # -- start and end -----------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the nodes, initialise the cluster and wait for a leader. `with` does it too.

        Returns:
            This cluster.

        Raises:
            ProcessError: a node did not start. The message has the end of its log.
            ConfigError: the directory is not empty, or the cluster has been started before.
        """
        if self._nodes is not None or self._kept_logs:
            raise ConfigError("this cluster has been started before: create another LocalCluster")
        try:
            self._guard = ProcessGuard(self._make_directory())
            where = self._where()
            self._nodes = ProcessCluster(where, self._size, self._arguments)
            for node in self._nodes.nodes.values():
                node.guard = self._guard
                for option, suffix in self._files.items():
                    node.arguments += [option, str(where / f"node{node.node_id}{suffix}")]
            self._nodes.start(self._timeout_s)
            with self.sync_client(timeout_s=self._timeout_s) as client:
                client.init(self._nodes.members)
            self.wait_leader()
            self.wait_converged()
        except BaseException:  # Ctrl-C, too, must leave no process behind
            self.close()
            raise
        return self

    def _make_directory(self) -> Path | None:
        """Create the directory. Return it if it is temporary."""
        if self._directory is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="qcore-cluster-"))
        else:
            self._directory.mkdir(parents=True, exist_ok=True)
            if any(self._directory.iterdir()):
                raise ConfigError(f"directory: {self._directory} is not empty: give an empty one")
        return self._temporary

    def _where(self) -> Path:
        """The directory with data, logs, traces and recordings."""
        where = self._temporary or self._directory
        if where is None:
            self._started()  # says whether the cluster has ended
        assert where is not None
        return where

    def close(self) -> None:
        """Kill all nodes and delete the temporary directory. May be called again."""
        if self._nodes is not None:
            for node in self._nodes.nodes.values():
                node.kill()
                self._kept_logs[node.node_id] = node.log_text()[-_MAX_KEPT_LOG:]
            self._nodes = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary)
            self._temporary = None
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def __enter__(self) -> Self:
        """Start the cluster, unless it has been started."""
        return self if self._nodes is not None else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def is_started(self) -> bool:
        """Whether the cluster has been started and has not ended."""
        return self._nodes is not None

    @property
    def traces(self) -> list[Path]:
        """The trace of each node, in the order of their ids. `qcore.analysis.read_course(*cluster.traces)` reads them.

        A node writes every 0.2 s: a killed node loses what it had not written, and one that runs is still writing.

        Raises:
            ConfigError: the cluster was created without `trace=True`, or was not started.
        """
        return self._written("--trace", "trace")

    @property
    def recordings(self) -> list[Path]:
        """The recording of each node, in the order of their ids.

        Raises:
            ConfigError: the cluster was created without `record=True`, or was not started.
        """
        return self._written("--record", "record")

    def _written(self, option: str, argument: str) -> list[Path]:
        if option not in self._files:
            raise ConfigError(
                f"the nodes write no such file: create the cluster with {argument}=True"
            )
        where = self._where()
        return [where / f"node{node_id}{self._files[option]}" for node_id in self.ids]

    # -- clients -----------------------------------------------------------------------------------

    @property
    def ids(self) -> list[int]:
        """The ids of all nodes."""
        return list(range(1, self._size + 1))

    @property
    def endpoints(self) -> list[str]:
        """`host:port` of all nodes, in the order of their ids."""
        return self._started().endpoints

    def sign_in(self, user: str, password: str) -> None:
        """Use this user from now on: for the methods of this cluster, which read pages of the nodes, and for clients.

        Call it once you have added the first user. The user must be allowed to `observe`. If it has not the role
        `admin`, what the cluster's methods read of the nodes ends after an hour: call this method again.

        Raises:
            Unauthenticated: there is no such user, or the password is wrong.
        """
        given: ClientOptions = {"user": user, "password": password}
        with self.sync_client(**given) as client:
            token = client.create_token(ttl_s=_TOKEN_S).token
        self._started().authorize(token)
        self._signed_in = given

    def client(self, **options: Unpack[ClientOptions]) -> Client:
        """A client of this cluster. The options are those of `qcore.Client`."""
        return Client(self.endpoints, **self._with_user(options))

    def sync_client(self, **options: Unpack[ClientOptions]) -> SyncClient:
        """A client of this cluster for programs without asyncio."""
        return SyncClient(self.endpoints, **self._with_user(options))

    def _with_user(self, options: ClientOptions) -> ClientOptions:
        given = {"token", "token_file", "user"} & options.keys()
        return options if given else {**self._signed_in, **options}

    def run_programs(
        self, program: ClientProgram, *, clients: int = 1, seed: int = 1
    ) -> list[ProgramRecord]:
        """Run a client program with several clients at the same time, and return what they recorded.

        The same function runs in the simulator: `run_scenario(..., program=program)`.

        Raises:
            BaseExceptionGroup: some programs raised an error.
        """
        return asyncio.run(run_programs(program, self.endpoints, clients=clients, seed=seed))

    # -- the state of the cluster ------------------------------------------------------------------

    def leader(self) -> int | None:
        """The id of the node that leads; None if there is none now, or if it is paused."""
        node = self._started().leader()
        return None if node is None else node.node_id

    def wait_leader(self) -> int:
        """Wait until a node leads, and return its id.

        Raises:
            ProcessError: no node led in time, or too few nodes run to elect one.
        """
        nodes = self._started()
        needed = self._size // 2 + 1
        if len(nodes.active()) < needed:
            raise ProcessError(
                f"no node can lead: {needed} of the {self._size} nodes must run, and {self._states()}; "
                "call `restart` or `resume` first"
            )
        with self._explained("wait_leader"):
            return nodes.wait_leader(self._timeout_s).node_id

    def wait_converged(self) -> None:
        """Wait until all nodes that run and are not paused have the same state.

        Raises:
            ProcessError: they did not converge in time, for example because clients still write.
        """
        if not self._started().active():
            raise ProcessError(f"no node runs: {self._states()}; call `restart` or `resume` first")
        with self._explained("wait_converged"):
            self._started().wait_converged(self._timeout_s)

    def log(self, node_id: int) -> str:
        """All output of a node, over its restarts. After the end of the cluster, the last 100 000 characters.

        Raises:
            ConfigError: there is no such node, or the cluster has not been started.
        """
        if node_id in self._kept_logs:
            return self._kept_logs[node_id]
        return self._node(node_id).log_text()

    # -- faults ------------------------------------------------------------------------------------

    def kill(self, node_id: int) -> None:
        """Kill a node as `kill -9` does. It may be paused.

        Raises:
            ProcessError: the node does not run.
            ConfigError: there is no such node.
        """
        self._running(node_id).kill()

    def stop(self, node_id: int) -> None:
        """Stop a node with SIGTERM, as an operator does, and wait for its end.

        Raises:
            ProcessError: the node does not run, is paused, or did not end in time.
            ConfigError: there is no such node.
        """
        node = self._running(node_id)
        if node.paused:
            raise ProcessError(
                f"node {node_id} is paused and cannot stop: call resume({node_id}) first, or kill({node_id})"
            )
        node.stop(self._timeout_s)

    def restart(self, node_id: int) -> None:
        """Start a node again that was killed or stopped, on the same data, and wait until it listens.

        Raises:
            ProcessError: the node runs, or did not start. The message has the end of its log.
            ConfigError: there is no such node.
        """
        node = self._node(node_id)
        if node.running:
            raise ProcessError(
                f"node {node_id} runs: call kill({node_id}) or stop({node_id}) first"
            )
        node.start(self._timeout_s)

    def pause(self, node_id: int) -> None:
        """Pause a node with SIGSTOP. Its connections stay open, and it answers nothing.

        Raises:
            ProcessError: the node does not run, or is paused.
            ConfigError: there is no such node.
        """
        node = self._running(node_id)
        if node.paused:
            raise ProcessError(f"node {node_id} is already paused: resume({node_id}) continues it")
        node.pause()

    def resume(self, node_id: int) -> None:
        """Continue a paused node.

        Raises:
            ProcessError: the node is not paused.
            ConfigError: there is no such node.
        """
        node = self._running(node_id)
        if not node.paused:
            raise ProcessError(f"node {node_id} is not paused: only a node after pause({node_id})")
        node.resume()

    # -- helpers -----------------------------------------------------------------------------------

    def _started(self) -> ProcessCluster:
        if self._nodes is None:
            raise ConfigError(
                "this cluster has ended: create another LocalCluster"
                if self._kept_logs
                else "this cluster has not been started: use `with LocalCluster() as cluster:`"
            )
        return self._nodes

    def _node(self, node_id: int) -> NodeProcess:
        nodes = self._started().nodes
        if node_id not in nodes:
            raise ConfigError(
                f"no node has the id {node_id!r}: the ids are 1 to {self._size}; leader() is None while no node leads, "
                "and wait_leader() waits for one"
            )
        return nodes[node_id]

    def _running(self, node_id: int) -> NodeProcess:
        node = self._node(node_id)
        if not node.running:
            raise ProcessError(f"node {node_id} does not run: restart({node_id}) starts it again")
        return node

    def _states(self) -> str:
        """`node 1 runs, node 2 is paused, node 3 does not run`."""

        def state(node: NodeProcess) -> str:
            if not node.running:
                return "does not run"
            return "is paused" if node.paused else "runs"

        nodes = self._started().nodes.values()
        return ", ".join(f"node {node.node_id} {state(node)}" for node in nodes)

    @contextmanager
    def _explained(self, method: str) -> Iterator[None]:
        """Add the state of each node to an error, and the end of the logs."""
        try:
            yield
        except ProcessError as error:
            ends = [
                f"end of the log of node {node.node_id}:\n{node.log_tail()}"
                for node in self._started().nodes.values()
            ]
            raise ProcessError("\n".join([f"{method}: {error}; {self._states()}", *ends])) from None


def _arguments(settings: Mapping[str, object]) -> list[str]:
    """The options of `qcore node start` for these settings."""
    known = {each.name: each for each in settings_of(NodeConfig) if each.about.node}
    known |= {each.field.name: each for each in known.values()}
    if not settings.keys() & _QUICK_ELECTIONS.keys():
        settings = {**_QUICK_ELECTIONS, **settings}
    arguments: list[str] = []
    for name, value in settings.items():
        if name not in known:
            raise ConfigError(f"settings: no setting is called {name!r}{near(str(name), known)}")
        option = known[name].option
        if known[name].name in _CHOSEN:
            hint = f"give the argument `{name}`" if name in _ARGUMENTS else "remove it"
            raise ConfigError(f"settings: LocalCluster chooses {name} itself: {hint}")
        if isinstance(value, bool):
            arguments.append(option if value else f"--no-{option[2:]}")
        elif isinstance(value, list | tuple):
            arguments += [word for each in value for word in (option, str(each))]
        elif value is not None:  # None stands for the default, as in `NodeConfig`
            arguments += [option, str(value)]
    return arguments
