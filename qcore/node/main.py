"""`run_node`: opens the storage, runs a node until a signal or a failure, and returns the exit code."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from qcore.errors import ConfigError, QcoreError
from qcore.node.application import Application, application_of
from qcore.node.config import NodeConfig
from qcore.node.node_files import OpenStorage, open_node_files
from qcore.node.observability.logs import FINAL_FLUSH_S, NodeLog
from qcore.node.peers.join_token_file import load_join_token
from qcore.node.replica_node import ReplicaNode
from qcore.node.runtime.file_descriptors import fit_to_open_files
from qcore.node.runtime.garbage_collection import CollectorControl
from qcore.node.runtime.shutdown import wait_for_any
from qcore.release import __version__
from qcore.runtime.real import AsyncioRuntime
from qcore.storage.sqlite.sqlite_storage import SqliteStorage

#: Exit codes of `run_node`.
EXIT_DONE: Final = 0
EXIT_UNHEALTHY: Final = 5
EXIT_FORCED: Final = 130

#: How long the disk thread may wait for the interpreter lock after each sync while the event loop runs, seconds.
_SWITCH_INTERVAL_S: Final = 0.0005

#: A signal repeated within this time counts as one signal, seconds.
_REPEAT_S: Final = 0.2

_T = TypeVar("_T")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def run_node(
    config: NodeConfig,
    application: Application | None = None,
    *,
    on_listening: Callable[[str], None] | None = None,
    open_storage: OpenStorage = SqliteStorage.open,
) -> int:
    """Run a node until SIGTERM, SIGINT or SIGHUP, or until it fails; returns the exit code.

    If the node was removed from its cluster, the exit code is never 0.

    This function redirects stdout and stderr to separate threads: see `qcore.node.observability.logs`.

    Args:
        config: settings.
        application: the state machine and its requests; by default those that `config.machine` names.
        on_listening: called with the address once the node listens.
        open_storage: opens the storage of a data directory for a node id.

    Raises:
        ConfigError: a setting or the topology file is wrong.
        StorageError: the data directory is locked, damaged or belongs to another node, or a write failed.
        StateMachineFailed: the state machine raised.
        IncompatibleVersion: the data belongs to another state machine, or to a version that this program cannot
            apply; nothing was written.
        TransportError: the address cannot be bound.
    """
    application = application or application_of(config.machine)
    loop_factory = _loop_factory(config.uvloop)  # before anything is written: uvloop may be missing
    config.tls.contexts()  # and a file may be wrong
    join_token = load_join_token(config.join_token_file, os.environ)
    log = NodeLog(config.node_id)
    log.install(config.log_format, config.log_level)
    config = replace(config, limits=fit_to_open_files(config.limits, log))
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    AsyncioRuntime.use_small_tls_buffers()
    with ExitStack() as stack:
        stack.callback(log.report_suppressed, all_of_them=True)
        files = open_node_files(config, application.machine, open_storage, log)
        stack.callback(files.close)
        runner = stack.enter_context(asyncio.Runner(loop_factory=loop_factory))

        async def run() -> BaseException | None:
            node = ReplicaNode(
                config,
                application,
                files.storage,
                log,
                files.trace_stream(),
                recording=files.recording,
                audit_sink=files.audit,
                join_token=join_token,
            )
            node.metrics.lines_dropped = {
                "log": log.dropped,
                "trace": files.trace_lines_dropped,
                "recording": files.recording_lines_dropped,
            }
            stop = _stop_on_signals(log)
            garbage = CollectorControl(node.metrics, node.connections_accepted, node.may_pause)
            garbage.start()
            node.on_busy(garbage.freeze)
            try:
                await serve(node, stop)
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
            garbage.stop()
            return node.failure

        async def serve(node: ReplicaNode, stop: asyncio.Event) -> None:
            bound = await _run_unless(stop, node.start())
            if bound is None:
                return
            version, data_dir = __version__, str(config.data_dir)
            if config.advertise_addr is not None:
                log.info("others reach this node elsewhere", addr=str(config.advertise_addr))
            log.info("listening", addr=bound, version=version, data_dir=data_dir)
            if on_listening is not None:
                on_listening(bound)
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


def _stop_on_signals(log: NodeLog) -> asyncio.Event:
    """Return an event that the first SIGTERM, SIGINT or SIGHUP sets. A second SIGTERM or SIGINT exits immediately.

    `timeout` of coreutils signals the process and then its group, so a repetition within `_REPEAT_S` does not count. A
    terminal that closes often sends SIGHUP twice, once from the kernel and once from the shell, so SIGHUP never counts
    as the second signal. If SIGHUP is ignored at the start, as under `nohup`, it stays ignored.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    first: tuple[signal.Signals, float] | None = None

    def on_signal(number: signal.Signals) -> None:
        nonlocal first
        if number != signal.SIGHUP:
            if first is None:
                first = number, loop.time()
            elif first[0] != number or loop.time() - first[1] >= _REPEAT_S:
                log.warning("second signal: exit immediately", signal=number.name)
                log.flush(FINAL_FLUSH_S)
                os._exit(EXIT_FORCED)
        if not stop.is_set():
            log.info("signal: shutting down", signal=number.name)
            stop.set()

    handled = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handled.append(signal.SIGHUP)
    for number in handled:
        loop.add_signal_handler(number, on_signal, number)
    return stop


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
