"""`run_node`: opens the storage, runs a node until a signal or a failure, and returns the exit code."""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from qcore.errors import ConfigError, QcoreError
from qcore.node.application import Application, application_of
from qcore.node.config import NodeConfig, held_back
from qcore.node.node_files import OpenStorage, open_node_files
from qcore.node.observability.logs import FINAL_FLUSH_S, NodeLog
from qcore.node.peers.join_token_file import load_join_token
from qcore.node.process.early_hangup import EarlyHangup
from qcore.node.process.otel_export import begin_export
from qcore.node.process.process_figures import ProcessFigures
from qcore.node.process.reload import Reload
from qcore.node.process.service_manager import ServiceManager
from qcore.node.process.signals import stop_on_signals
from qcore.node.replica_node import ReplicaNode
from qcore.node.runtime.file_descriptors import fit_to_open_files
from qcore.node.runtime.garbage_collection import CollectorControl
from qcore.node.runtime.shutdown import wait_for_any
from qcore.release import __version__
from qcore.runtime.real import REAL, AsyncioRuntime
from qcore.storage.sqlite.sqlite_storage import SqliteStorage

#: Exit codes of `run_node`.
EXIT_DONE: Final = 0
EXIT_UNHEALTHY: Final = 5

#: The descriptor of stderr, whatever `sys.stderr` is.
_STDERR: Final = 2

#: How long the disk thread may wait for the interpreter lock after each sync while the event loop runs, seconds.
_SWITCH_INTERVAL_S: Final = 0.0005

_T = TypeVar("_T")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def run_node(
    config: NodeConfig,
    application: Application | None = None,
    *,
    on_listening: Callable[[str], None] | None = None,
    open_storage: OpenStorage = SqliteStorage.open,
    read_settings: Callable[[], Mapping[str, object]] = dict,
) -> int:
    """Run a node until SIGTERM or SIGINT, or until it fails; returns the exit code.

    If the node was removed from its cluster, the exit code is never 0.

    SIGHUP opens the files of log, audit log and trace again, and reads certificates and the log level again; a SIGHUP
    because the terminal has closed stops the node. If NOTIFY_SOCKET is set, the node reports to the service manager:
    see `qcore.node.process.service_manager`.

    This function redirects stdout and stderr to separate threads: see `qcore.node.observability.logs`.

    Args:
        config: settings.
        application: the state machine and its requests; by default those that `config.machine` names.
        on_listening: called with the address once the node listens.
        open_storage: opens the storage of a data directory for a node id.
        read_settings: reads the configuration file, at the start and for each SIGHUP. It returns the values that
            count, by the names of the fields, and may raise `ConfigError`. A running node takes only `log_level`.

    Raises:
        ConfigError: a setting or the topology file is wrong.
        StorageError: the data directory is locked, damaged or belongs to another node, or a write failed.
        StateMachineFailed: the state machine raised.
        IncompatibleVersion: the data belongs to another state machine, or to a version that this program cannot
            apply; nothing was written.
        TransportError: the address cannot be bound.
    """
    early_hangup = EarlyHangup.begin()
    application = application or application_of(config.machine)
    loop_factory = _loop_factory(config.uvloop)  # before anything is written: uvloop may be missing
    config.tls.contexts()  # and a file may be wrong
    join_token = load_join_token(config.join_token_file, os.environ)
    log = NodeLog(config.node_id)
    log.activity.use_clock(REAL.wall_us)
    log.install(config.log_format, config.log_level, config.log_file)
    config = replace(config, limits=fit_to_open_files(config.limits, log))
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    AsyncioRuntime.use_small_tls_buffers()
    if not faulthandler.is_enabled():
        # The watchdog of a service manager ends a hung node with SIGABRT: then stderr shows where it hung.
        faulthandler.enable(_STDERR)
    with ExitStack() as stack:
        stack.callback(early_hangup.end)
        stack.callback(log.report_suppressed, all_of_them=True)
        observer = None
        if config.otel:
            observer, end_export = begin_export(config.node_id, REAL.wall_us)
            # It is called after the files are closed, because a collector may be slow.
            stack.callback(end_export)
        files = open_node_files(config, application.machine, open_storage, log)
        stack.callback(files.close)
        figures = ProcessFigures(config.data_dir, config.tls)
        stack.callback(figures.stop)
        runner = stack.enter_context(asyncio.Runner(loop_factory=loop_factory))

        async def run() -> BaseException | None:
            node = ReplicaNode(
                config,
                application,
                files.storage,
                log,
                files.trace_stream(),
                observer=observer,
                recording=files.recording,
                audit_sink=files.audit,
                join_token=join_token,
            )
            node.metrics.lines_dropped = {
                "log": log.dropped,
                "audit": files.audit_lines_dropped,
                "trace": files.trace_lines_dropped,
                "recording": files.recording_lines_dropped,
            }
            node.metrics.of_process = figures.families
            figures.start()
            manager = ServiceManager(os.environ, lambda: node_state(node), log)
            stop = stop_on_signals(
                log, Reload(config, log, files, manager, read_settings), early_hangup
            )
            garbage = CollectorControl(node.metrics, node.connections_accepted, node.may_pause)
            garbage.start()
            node.on_busy(garbage.freeze)
            try:
                await serve(node, stop, manager)
                manager.stopping()
                await node.stop()
            except BaseException as error:
                # The storage is closed next, so the disk thread must have ended.
                await node.stop_writer()
                if node.disk_hung:
                    log.error("the node ends", why=str(error))
                raise
            finally:
                if node.disk_hung:
                    log.report_suppressed(all_of_them=True)
                    log.flush(FINAL_FLUSH_S)
                    os._exit(EXIT_UNHEALTHY)  # closing the storage would hang, too
            manager.close()
            garbage.stop()
            return node.failure

        async def serve(node: ReplicaNode, stop: asyncio.Event, manager: ServiceManager) -> None:
            bound = await _run_unless(stop, node.start())
            if bound is None:
                return
            version, data_dir = __version__, str(config.data_dir)
            if config.advertise_addr is not None:
                log.info("others reach this node elsewhere", addr=str(config.advertise_addr))
            log.info(
                "listening",
                addr=bound,
                version=version,
                data_dir=data_dir,
                loop="asyncio" if loop_factory is None else "uvloop",
                **held_back(config),
            )
            if on_listening is not None:
                on_listening(bound)
            manager.ready()
            await wait_for_any(stop, node.failed)
            if node.removal_reason is not None:
                removed.append(node.removal_reason)

        removed: list[str] = []

        with _profiled(config.node_id):
            failure = runner.run(run())
    if isinstance(failure, QcoreError):
        raise failure
    if removed:
        log.error("this node was removed: it ends with an error", why=removed[0])
    return EXIT_DONE if failure is None and not removed else EXIT_UNHEALTHY


@contextmanager
def _profiled(node_id: int) -> Iterator[None]:
    """If QCORE_PROFILE=DIR is set, profile the event loop and write `DIR/node<ID>.prof` for pstats."""
    directory = os.environ.get("QCORE_PROFILE")
    if not directory:
        yield
        return
    import cProfile

    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        profile.dump_stats(Path(directory) / f"node{node_id}.prof")


def node_state(node: ReplicaNode) -> str:
    """What the node does now, in one line, for the service manager."""
    core, reason = node.core, node.unready_reason()
    state = f"{core.role} in term {core.term}"
    return state if reason is None else f"{state}; cannot serve requests: {reason}"


async def _run_unless(stop: asyncio.Event, work: Coroutine[object, object, _T]) -> _T | None:
    """Run the work; returns its result, or None if the event is set before it ends."""
    job, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((job, stopped), return_when=asyncio.FIRST_COMPLETED)
        return job.result() if job.done() else None
    finally:
        job.cancel()
        stopped.cancel()


def _loop_factory(use_uvloop: bool | None) -> LoopFactory | None:
    """The loop factory of uvloop if it is requested or installed; None for asyncio's loop.

    Raises:
        ConfigError: uvloop is requested and not installed.
    """
    if use_uvloop is False:
        return None
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        if use_uvloop:
            raise ConfigError(
                "--uvloop: uvloop is not installed: pip install 'qcore-raft[uvloop]'"
            ) from None
        return None
    factory: LoopFactory = uvloop.new_event_loop
    return factory
