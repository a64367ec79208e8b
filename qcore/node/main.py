"""`run_node`: opens the storage, runs a node until a signal or a failure, and returns the exit code."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import stat
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from qcore.core.entry import Snapshot
from qcore.errors import (
    ConfigError,
    IncompatibleVersion,
    QcoreError,
    StateMachineFailed,
    StorageError,
)
from qcore.files import open_nonblocking, open_regular
from qcore.machines.interface import StateMachine, SupportsCommandCheck, version_support
from qcore.node.application import Application, application_of
from qcore.node.config import NodeConfig
from qcore.node.node import Node
from qcore.node.observability.line_writer import LineWriter
from qcore.node.observability.logs import FINAL_FLUSH_S, NodeLog
from qcore.node.observability.tracing import trace_lines
from qcore.node.runtime.file_descriptors import fit_to_open_files
from qcore.node.runtime.garbage_collection import CollectorControl
from qcore.release import __version__
from qcore.replica.apply.active_version import check_supported
from qcore.replica.sessions.session_table import command_in
from qcore.replica.snapshot_builder import check_restorable
from qcore.storage.files.synced_files import readable_by_others
from qcore.storage.interface import LogStorage
from qcore.storage.sqlite.inspection import first_entries, stored_snapshot, stored_version
from qcore.storage.sqlite.sqlite_storage import SqliteStorage

#: Exit codes of `run_node`.
EXIT_DONE: Final = 0
EXIT_UNHEALTHY: Final = 5
EXIT_FORCED: Final = 130

#: How long the disk thread may wait for the interpreter lock after each sync while the event loop runs, seconds.
_SWITCH_INTERVAL_S: Final = 0.0005

#: How many of the first entries of a log that names no state machine are searched for a command of this one.
_MAX_ENTRIES_CHECKED: Final = 1000

#: How long the process waits for a slow trace file before it ends, seconds.
_FINAL_TRACE_FLUSH_S: Final = 2.0

#: A signal repeated within this time counts as one signal, seconds.
_REPEAT_S: Final = 0.2

_T = TypeVar("_T")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def run_node(
    config: NodeConfig,
    application: Application | None = None,
    *,
    on_listening: Callable[[str], None] | None = None,
    open_storage: Callable[[Path, int], LogStorage] = SqliteStorage.open,
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
    log = NodeLog(config.node_id)
    log.install(config.log_format, config.log_level)
    config = replace(config, limits=fit_to_open_files(config.limits, log))
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    with ExitStack() as stack:
        stack.callback(log.report_suppressed, all_of_them=True)
        trace = None if config.trace is None else open_trace_writer(config.trace, log)
        if trace is not None:
            stack.callback(trace.close, _FINAL_TRACE_FLUSH_S)
        support = version_support(application.machine, config.replica.max_rules)
        stored = stored_version(config.data_dir)
        if stored is not None:
            check_supported(stored, support)
        if stored is None or not stored.machine:
            _require_data_of_machine(config.data_dir, application.machine)
        storage = open_storage(config.data_dir, config.node_id)
        stack.callback(storage.close)
        _warn_of_readers(config.data_dir, log)
        runner = stack.enter_context(asyncio.Runner(loop_factory=loop_factory))

        async def run() -> BaseException | None:
            node = Node(
                config, application, storage, log, None if trace is None else trace.stream()
            )
            node.metrics.lines_dropped = {
                "log": log.dropped,
                "trace": lambda: 0 if trace is None else trace.dropped,
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

        async def serve(node: Node, stop: asyncio.Event) -> None:
            bound = await _run_unless(stop, node.start())
            if bound is None:
                return
            version, data_dir = __version__, str(config.data_dir)
            if config.advertise_addr is not None:
                log.info("others reach this node elsewhere", addr=str(config.advertise_addr))
            log.info("listening", addr=bound, version=version, data_dir=data_dir)
            if on_listening is not None:
                on_listening(bound)
            await _wait_for_any(stop, node.failed)
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


def _warn_of_readers(directory: Path, log: NodeLog) -> None:
    """Warn of files that other users can read. Their modes stay, because an operator may have chosen them."""
    names = readable_by_others(directory)
    if names:
        log.warning(
            "other users of this machine can read the node's data: chmod 700 the data directory, if they should not",
            data_dir=str(directory),
            files=",".join(names),
        )


def _require_data_of_machine(directory: Path, machine: StateMachine) -> None:
    """Refuse data that names no state machine (apply rules 1) and clearly belongs to another one.

    If there is a snapshot, only the snapshot counts: the data belongs to the state machine that can read it, even if
    all later commands are malformed. Without a snapshot the log holds every command, so the commands are checked.

    Raises:
        IncompatibleVersion: the data belongs to another state machine; nothing was written.
    """
    found: str | None = None
    try:
        snapshot = stored_snapshot(directory)
        if snapshot is not None:
            found = _unreadable(snapshot, machine)
        elif isinstance(machine, SupportsCommandCheck):
            found = _foreign_commands(directory, machine)
    except StorageError:
        return  # opening the storage will raise it again
    if found is not None:
        raise IncompatibleVersion(
            f"{directory}: the log does not name its state machine (data of qcore 0.1.0, or of apply rules 1), and "
            f"{found}: this program runs {machine.name!r}; start this node with the --machine that the cluster runs; "
            "its data is unchanged"
        )


def _unreadable(snapshot: Snapshot, machine: StateMachine) -> str | None:
    """Why this state machine cannot read the snapshot, or None. The node restores the machine again later."""
    try:
        check_restorable(snapshot.data, machine)
    except StateMachineFailed as error:
        through = snapshot.meta.last_included_index
        return (
            f"the snapshot through entry {through} is not one of this machine ({error.__cause__})"
        )
    return None


def _foreign_commands(directory: Path, machine: SupportsCommandCheck) -> str | None:
    """A sentence if this state machine knows none of the log's first commands, else None."""
    seen: list[int] = []
    with closing(first_entries(directory, ("command", "session"), _MAX_ENTRIES_CHECKED)) as entries:
        for entry in entries:
            command = command_in(entry)
            if command is None:
                continue
            try:
                if machine.recognises(command):
                    return None
            except Exception as raised:  # the boundary to the user's code
                raise StateMachineFailed(
                    f"recognises raised {type(raised).__name__}: {raised}; it must return True or False for any text"
                ) from raised
            seen.append(entry.index)
    if not seen:
        return None
    return f"this machine understands none of the commands in entries {seen[0]} to {seen[-1]}"


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


def open_trace_writer(path: Path, log: NodeLog) -> LineWriter:
    """A writer that appends a trace to a file.

    Raises:
        ConfigError: the file cannot be opened.
    """
    try:
        file = open_nonblocking(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        raise ConfigError(f"--trace {path}: {error.strerror}") from None

    def failed(error: OSError) -> None:
        log.error(
            "the trace ends here: its file cannot be written", path=str(path), why=error.strerror
        )

    # The descriptor stays open until the process ends: the thread may still wait for a reader then.
    return trace_lines(file, failed, nodes=[log.node_id], is_torn=_ends_within_a_line(file, path))


def _ends_within_a_line(file: int, path: Path) -> bool:
    """Whether an earlier process left half a line in the file, because it was killed or the disk was full."""
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return False
    try:
        with open_regular(path) as trace:
            trace.seek(-1, os.SEEK_END)
            return trace.read() != b"\n"
    except OSError:  # the file may be write-only; an extra empty line does no harm
        return True


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


async def _wait_for_any(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


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
