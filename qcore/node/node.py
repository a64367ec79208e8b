"""`Node`: a node within a program that has its own event loop, such as a web service.

    config = NodeConfig.of(1, Path("data/1"), ws_addr=Address("127.0.0.1", 8080))
    async with Node(config, on_leader=run_the_schedule) as node:
        await node.client.init()  # the first time: a cluster of this node alone

`run_node` is the other way to run a node: as a separate process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Self, cast

from qcore.client.client import Client
from qcore.client.login.credentials import Credentials
from qcore.client.methods.metrics_types import Metrics
from qcore.errors import StorageError
from qcore.node.application import Application, application_of
from qcore.node.config import NodeConfig, held_back
from qcore.node.node_files import NodeFiles, OpenStorage, open_node_files
from qcore.node.observability.program_log import ProgramLog
from qcore.node.peers.join_token_file import load_join_token
from qcore.node.process.otel_export import recorder_of_program
from qcore.node.process.process_figures import ProcessFigures
from qcore.node.replica_node import ReplicaNode
from qcore.node.runtime.disk_writer import disk_thread
from qcore.node.runtime.file_descriptors import fit_to_open_files
from qcore.node.runtime.leader_callbacks import Callback, LeaderCallbacks
from qcore.node.runtime.shutdown import wait_for_any
from qcore.node.surroundings import Surroundings
from qcore.release import __version__
from qcore.runtime.real import REAL
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from qcore.transport.address import Address


class Node:
    """A node in the event loop of your program. Use it as an async context manager, or call `start` and `stop`.

    It serves clients, peers and HTTP on `config.ws_addr`, like `qcore node start`. Several nodes may run in one
    process. If the data directory belongs to no cluster yet, the node waits for an `Init`: see `Client.init`.

    It leaves the process to your program: it handles no signal, redirects no output, and changes neither the
    configuration of `logging` nor the garbage collector, the thread switch interval or the limit of open files. It logs
    to the logger `qcore.node`. So `config.log_format`, `config.log_level` and `config.uvloop` have no effect.

    A blocked event loop blocks the node, too: if it leads, the others elect another leader after an election timeout.

    **Callbacks.** Each may be a plain function or an async one. They are called in the event loop, one after the other.
    An exception that one raises is logged, and the node continues.

    - `on_leader` is called once this node leads and has committed an entry of its term, so its reads are current. An
      async `on_leader` runs in a task, which is cancelled when the leadership ends. There is never more than one.
    - `on_follower` is called when this node no longer leads, after that task has ended. `stop` calls it, too, before it
      transfers the leadership.

    A node learns with a delay that it no longer leads, and another one may lead already. So the callbacks alone do not
    make work exclusive: let its effects go through the log (`client`), or send `term` along and let the receiver reject
    a lower term than it has seen.

    **Users.** `client` acts as the user `client_user`. It needs neither a password nor a token, because the process
    holds the node's key, which signs tokens for every user. Name a user whose role allows no more than the program
    needs.

    Args:
        config: settings.
        application: the state machine and its requests; by default those that `config.machine` names.
        client_user: the user of `client`. It does not matter while the cluster has no users. From then on requests of
            `client` raise `Unauthenticated` without it, or if there is no such user.
        on_leader, on_follower: the callbacks; they get this node.
        open_storage: opens the storage of a data directory for a node id.

    Raises:
        ConfigError: there is no such state machine.
    """

    def __init__(
        self,
        config: NodeConfig,
        application: Application | None = None,
        *,
        client_user: str | None = None,
        on_leader: Callable[[Node], object] | None = None,
        on_follower: Callable[[Node], object] | None = None,
        open_storage: OpenStorage = SqliteStorage.open,
    ) -> None:
        self._config = config
        self._application = application or application_of(config.machine)
        self._client_user = client_user
        self._open_storage = open_storage
        self._log = ProgramLog(config.node_id)
        self._callbacks = LeaderCallbacks(
            self._bound(on_leader), self._bound(on_follower), self._log
        )
        self._is_started = False
        self._opened: _Opened | None = None
        self._stop: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()

    def _bound(self, callback: Callable[[Node], object] | None) -> Callback | None:
        return None if callback is None else lambda: callback(self)

    # -- start and stop --------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.stop()
        except Exception as failure:
            if error is None:
                raise
            # The error of the `async with` block is the one to see.
            self._log.bug("the node ended with an error", failure)

    async def start(self) -> None:
        """Open the data, listen, and take part in the cluster. After an error nothing is open.

        A node starts once. To start again, make another `Node`. The event loop waits while the data is read.

        Raises:
            ConfigError: a setting or the topology file is wrong.
            StorageError: the data directory is locked, damaged or belongs to another node.
            StateMachineFailed: the state machine raised.
            IncompatibleVersion: the data belongs to another state machine, or to a version that this program cannot
                apply; nothing was written.
            TransportError: the address cannot be bound.
            RuntimeError: the node was started before.
        """
        if self._is_started:
            raise RuntimeError(
                "this Node was started before, and a node starts once: make another Node for the data directory"
            )
        self._is_started = True
        limits = fit_to_open_files(self._config.limits, self._log, may_raise=False)
        config = replace(self._config, limits=limits)
        join_token = load_join_token(config.join_token_file, {})
        files = open_node_files(config, self._application.machine, self._open_storage, self._log)
        figures = ProcessFigures(config.data_dir, config.tls)
        observer = recorder_of_program(config.node_id, REAL.wall_us) if config.otel else None
        parts: ReplicaNode | None = None
        try:
            parts = ReplicaNode(
                config,
                self._application,
                files.storage,
                self._log,
                files.trace_stream(),
                observer=observer,
                recording=files.recording,
                audit_sink=files.audit,
                join_token=join_token,
                on_leadership=self._callbacks.report,
                world=Surroundings(own_process=False, make_writer=disk_thread),
            )
            parts.metrics.lines_dropped = {
                "audit": files.audit_lines_dropped,
                "trace": files.trace_lines_dropped,
                "recording": files.recording_lines_dropped,
            }
            parts.metrics.of_process = figures.families
            address = await parts.start()
        except BaseException:
            try:
                if parts is not None:
                    await parts.abandon()
            finally:
                await _close(parts, files)
            raise
        figures.start()
        self._callbacks.start()
        own_address = str(_reachable(address))
        client = Client([own_address], tls=config.tls.files(), credentials=self._credentials(parts))
        self._opened = _Opened(parts, files, figures, address, client)
        self._log.info(
            "listening",
            addr=address,
            version=__version__,
            data_dir=str(config.data_dir),
            **held_back(config),
        )

    def _credentials(self, parts: ReplicaNode) -> Credentials | None:
        if self._client_user is None:
            return None
        return Credentials(token_source=partial(parts.access.own_token, self._client_user))

    async def stop(self) -> None:
        """End the callbacks, transfer the leadership, wait for the requests in progress, and close everything.

        It may be called again, and then raises the same error. If the caller is cancelled, the node stops nevertheless.

        Raises:
            QcoreError: the node has failed, see `wait_failed`; everything is closed.
            StorageError: the disk made no progress for 10 s. The data directory stays locked until the process ends.
            RuntimeError: a callback called it, and would wait for itself.
        """
        if self._callbacks.is_called_here():
            raise RuntimeError(
                "a callback cannot stop its node, because the node waits for it: set an event for another task"
            )
        if self._opened is None:
            return
        if self._stop is None:
            self._stop = asyncio.get_running_loop().create_task(self._end(self._opened))
        await asyncio.shield(self._stop)

    async def _end(self, opened: _Opened) -> None:
        parts = opened.parts
        # The steps run from the last to the first, and each runs even if another one raises.
        async with AsyncExitStack() as steps:
            steps.callback(self._stopped.set)
            steps.callback(opened.figures.stop)
            steps.callback(self._log.report_suppressed, all_of_them=True)
            steps.push_async_callback(_close, parts, opened.files)
            steps.push_async_callback(parts.stop)
            steps.push_async_callback(
                opened.client.close
            )  # the node passes on the end of its session
            steps.push_async_callback(self._callbacks.stop)
        if parts.disk_hung:
            raise StorageError(
                f"{self._config.data_dir}: the disk made no progress, so the log is still open; end the process to "
                "unlock it; nothing that was acknowledged is lost"
            ) from parts.failure
        if parts.failure is not None:
            raise parts.failure

    async def wait_failed(self) -> BaseException | None:
        """Wait until the node fails, and return the error; None once it has stopped without a failure.

        A failed node acknowledges nothing any more: its disk, its state machine or its code has failed. Stop it, and
        end the process or make another `Node`.
        """
        parts = self._running.parts
        await wait_for_any(parts.failed, self._stopped)
        return parts.failure

    # -- what the node knows ---------------------------------------------------------------------

    @property
    def client(self) -> Client:
        """A client of the cluster that begins at this node. The node closes it."""
        return self._running.client

    @property
    def address(self) -> str:
        """The address on which the node listens, `host:port`."""
        return self._running.address

    @property
    def node_id(self) -> int:
        """The node's id."""
        return self._config.node_id

    @property
    def is_leader(self) -> bool:
        """Whether this node leads and has committed an entry of its term."""
        parts = self._running.parts
        return parts.failure is None and parts.core.has_committed_in_term and not self._is_stopped

    @property
    def term(self) -> int:
        """The current term."""
        return self._running.parts.core.term

    @property
    def leader(self) -> int | None:
        """The id of the leader as far as this node knows, or None."""
        return self._running.parts.core.leader_id

    @property
    def has_quorum(self) -> bool:
        """Whether the cluster can probably commit: within an election timeout, a quorum has responded to this node if
        it leads, or this node has heard from the leader. False on a node that has failed or stops."""
        return self._running.parts.has_quorum()

    @property
    def removal_reason(self) -> str | None:
        """Why this node is no longer a member of its cluster, or None. Stop such a node."""
        return self._running.parts.removal_reason

    def metrics(self) -> Metrics:
        """The metrics object, as in `/status` and `Client.get_metrics`."""
        return cast("Metrics", self._running.parts.metrics_object())

    @property
    def _is_stopped(self) -> bool:
        return self._stop is not None

    @property
    def _running(self) -> _Opened:
        if self._opened is None:
            raise RuntimeError("this Node is not started: use it in `async with`, or call `start`")
        return self._opened


@dataclass(slots=True, frozen=True)
class _Opened:
    """What a node has once it is started."""

    parts: ReplicaNode
    files: NodeFiles
    figures: ProcessFigures
    address: str
    client: Client


def _reachable(bound: str) -> Address:
    """An address at which this process reaches a node that listens on this one."""
    address = Address.parse(bound)
    if not address.is_unspecified:
        return address
    return Address("::1" if ":" in address.host else "127.0.0.1", address.port)


async def _close(parts: ReplicaNode | None, files: NodeFiles) -> None:
    """End the disk thread, and close the files."""
    try:
        if parts is not None:
            await parts.stop_writer()
        if parts is None or not parts.disk_hung:
            files.storage.close()
    finally:
        await asyncio.to_thread(files.close_trace)  # it may wait for a slow file
