"""`open_node_files`: opens what a node keeps on disk, after checks that it is this node's, its trace and recording."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from qcore.core.entry import Snapshot
from qcore.errors import ConfigError, IncompatibleVersion, StateMachineFailed, StorageError
from qcore.files import open_regular, open_to_append
from qcore.machines.interface import StateMachine, SupportsCommandCheck, version_support
from qcore.node.access.audit_file import close_audit_file, open_audit_file, open_private
from qcore.node.config import NodeConfig
from qcore.node.observability.line_writer import LineWriter
from qcore.node.observability.logs import NodeLog, opened_again
from qcore.node.observability.node_recording import NodeRecording
from qcore.node.observability.tracing import first_trace_line, trace_lines
from qcore.replica.apply.active_version import check_supported
from qcore.replica.sessions.session_table import command_in
from qcore.replica.snapshot_builder import check_restorable
from qcore.storage.files.synced_files import readable_by_others
from qcore.storage.interface import LogStorage
from qcore.storage.sqlite.inspection import first_entries, stored_snapshot, stored_version
from qcore.trace import TextSink

#: How many of the first entries of a log that names no state machine are searched for a command of this one.
_MAX_ENTRIES_CHECKED: Final = 1000

#: How long a node that ends waits for a slow trace file, seconds.
_FINAL_TRACE_FLUSH_S: Final = 2.0

#: Opens the storage of a data directory for a node id.
OpenStorage = Callable[[Path, int], LogStorage]


class NodeFiles:
    """The open files of a node.

    Args:
        storage: the log.
        trace: the writer of the trace, or None.
        recording: the recording, or None.
        audit: the writer of the audit log, or None.
    """

    def __init__(
        self,
        storage: LogStorage,
        trace: LineWriter | None,
        recording: NodeRecording | None = None,
        audit: LineWriter | None = None,
    ) -> None:
        self.storage = storage
        self.audit = audit
        self.recording = recording
        self._trace = trace

    def trace_stream(self) -> TextSink | None:
        """The stream for the lines of the trace, or None."""
        return None if self._trace is None else self._trace.stream()

    def trace_lines_dropped(self) -> int:
        """How many lines of the trace were dropped because its file was too slow."""
        return 0 if self._trace is None else self._trace.dropped

    def reopen(self, config: NodeConfig, log: NodeLog) -> None:
        """Go on in new files of the audit log and the trace, if the old ones were moved away. It never waits."""
        if self.audit is not None and config.audit_log is not None:
            path = config.audit_log
            self.audit.reopen(lambda: opened_again(path, open_private, log))
        if self._trace is not None and config.trace is not None:
            trace = config.trace
            self._trace.reopen(
                lambda: opened_again(trace, open_to_append, log), first_trace_line(config.node_id)
            )

    def close(self) -> None:
        """Close them. It may wait for a slow trace file, at most 2 s. The disk thread must have ended."""
        try:
            self.storage.close()
        finally:
            self.close_trace()

    def audit_lines_dropped(self) -> int:
        """How many lines of the audit log were dropped because its file was too slow."""
        return 0 if self.audit is None else self.audit.dropped

    def recording_lines_dropped(self) -> int:
        """How many lines of the recording were dropped because its file was too slow."""
        return 0 if self.recording is None else self.recording.lines_dropped()

    def close_trace(self) -> None:
        """Close trace, audit log and recording only, because the storage hangs. Idempotent."""
        if self.recording is not None:
            self.recording.close()
        audit, self.audit = self.audit, None
        if audit is not None:
            close_audit_file(audit)
        trace, self._trace = self._trace, None
        if trace is not None:
            _close_trace_writer(trace)


def open_node_files(
    config: NodeConfig, machine: StateMachine, open_storage: OpenStorage, log: NodeLog
) -> NodeFiles:
    """Open the trace and the storage, after checks that this program can use the data.

    Raises:
        ConfigError: the file of the trace, of the audit log or of the recording cannot be opened.
        StorageError: the data directory is locked, damaged or belongs to another node.
        StateMachineFailed: the state machine raised.
        IncompatibleVersion: the data belongs to another state machine, or to a version that this program cannot
            apply; nothing was written.
    """
    with ExitStack() as stack:
        trace = None if config.trace is None else open_trace_writer(config.trace, log)
        if trace is not None:
            stack.callback(_close_trace_writer, trace)
        audit = None if config.audit_log is None else open_audit_file(config.audit_log, log)
        if audit is not None:
            stack.callback(close_audit_file, audit)
        recording = None
        if config.record is not None:
            recording = NodeRecording(config.record, config.record_limit_bytes, log)
            stack.callback(recording.close)
        support = version_support(machine, config.replica.max_rules)
        stored = stored_version(config.data_dir)
        if stored is not None:
            check_supported(stored, support)
        if stored is None or not stored.machine:
            _require_data_of_machine(config.data_dir, machine)
        storage = open_storage(config.data_dir, config.node_id)
        stack.callback(storage.close)
        _warn_of_readers(config.data_dir, log)
        if text := config.tls.key_exposure():
            log.warning(text)
        stack.pop_all()
    return NodeFiles(storage, trace, recording, audit)


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


def open_trace_writer(path: Path, log: NodeLog) -> LineWriter:
    """A writer that appends a trace to a file.

    Raises:
        ConfigError: the file cannot be opened.
    """
    try:
        file = open_to_append(path)
    except OSError as error:
        raise ConfigError(f"--trace {path}: {error.strerror}") from None

    def failed(error: OSError) -> None:
        log.error(
            "the trace ends here: its file cannot be written", path=str(path), why=error.strerror
        )

    return trace_lines(file, failed, nodes=[log.node_id], is_torn=_ends_within_a_line(file, path))


def _close_trace_writer(trace: LineWriter) -> None:
    """Write the waiting lines, and close the file. If its reader takes too long, the file stays open for the thread."""
    if trace.close(_FINAL_TRACE_FLUSH_S):
        os.close(trace.fileno())


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
