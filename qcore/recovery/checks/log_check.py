"""Checks what a log holds, entry by entry, and whether log, snapshot, hard state and identity fit each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from qcore.core.entry import Entry, Membership
from qcore.core.log.restore import RECOVERY_ADVICE
from qcore.core.version import LATEST_RULES, ClusterVersion
from qcore.errors import LogCorrupt, StorageError
from qcore.recovery.checks.findings import CheckReport, Finding
from qcore.recovery.snapshot_summary import summarise
from qcore.storage.live.log_reader import LogReader, StoredLog
from qcore.storage.sqlite.sqlite_storage import DATABASE_FILE

#: Damaged entries that are reported one by one.
_REPORTED: Final = 10
_NEWER: Final = "use the qcore that wrote it"


@dataclass(slots=True)
class NewestSeen:
    """What the entries have shown last."""

    term: int = 0
    version: ClusterVersion | None = None


@dataclass(slots=True, frozen=True)
class _Damage:
    """A damaged entry.

    Attributes:
        is_sound_row: its checksum is right, and its content contradicts other parts.
    """

    index: int
    why: str
    is_sound_row: bool = False


def check_log(report: CheckReport, reader: LogReader, log: StoredLog) -> Membership | None:
    """Read every entry and the whole snapshot.

    Args:
        report: gets the findings.
        reader: of the data directory.
        log: its description.

    Returns:
        the newest configuration that can be read.

    Raises:
        StorageError: the files cannot be read.
    """
    newest = NewestSeen(version=None if log.snapshot is None else log.snapshot.meta.version)
    damaged = [*_check_entries(report, reader, log, newest)]
    report.version = newest.version
    snapshot_is_sound = _check_snapshot(report, reader, log)
    _report_damage(report, log, damaged, snapshot_is_sound=snapshot_is_sound)
    report.findings += misfits(log)
    return log.membership


def _check_entries(
    report: CheckReport, reader: LogReader, log: StoredLog, newest: NewestSeen
) -> Iterator[_Damage]:
    """Yield each damaged entry, and each whose content makes no sense. Counts the others."""
    index, last = log.state.first_index, log.state.last_index
    meta = None if log.snapshot is None else log.snapshot.meta
    if meta is not None and index == meta.last_included_index + 1:
        newest.term = meta.last_included_term
    while index <= last:
        batch = reader.read(index, last)
        yield from (_Damage(found, text) for found, text in batch.damage)
        for entry, _ in batch.entries:
            why = fault_of(entry, newest, batch.state.term)
            if why is None and meta is not None and entry.index == meta.last_included_index:
                why = _differs_from_snapshot(entry, meta.last_included_term)
            if why is not None:
                yield _Damage(entry.index, why, is_sound_row=True)
            newest.term = max(newest.term, entry.term)
            report.entries += why is None
        if batch.next_index <= index:
            return  # the node that runs has compacted or truncated its log meanwhile
        index = batch.next_index


def fault_of(entry: Entry, newest: NewestSeen, current_term: int) -> str | None:
    """What is wrong with an entry whose checksum is right, or None."""
    if entry.term < newest.term:
        return f"its term is {entry.term}, and an entry before it has term {newest.term}"
    if entry.term > current_term:
        return f"its term is {entry.term}, and the current term only {current_term}"
    try:
        if entry.kind == "membership":
            fault = Membership.from_json(entry.data).invalid_reason()
            if fault is not None:
                return f"no cluster can have its configuration: {fault}"
        if entry.kind == "version":
            version = newest.version = ClusterVersion.from_json(entry.data)
            if version.rules > LATEST_RULES:
                return f"it needs apply rules {version.rules}, this program knows up to {LATEST_RULES}: {_NEWER}"
    except ValueError as error:
        return f"it should hold a {entry.kind}, and does not: {error}"
    return None


def _differs_from_snapshot(entry: Entry, term: int) -> str | None:
    return f"its term is {entry.term}, and {term} in the snapshot" if entry.term != term else None


def _check_snapshot(report: CheckReport, reader: LogReader, log: StoredLog) -> bool:
    """Read the snapshot's text. Returns False if it is damaged."""
    stored = log.snapshot
    if stored is None:
        return True
    what = f"the snapshot through entry {stored.meta.last_included_index}"
    try:
        summarise(reader.snapshot_parts(stored))
    except (LogCorrupt, ValueError) as error:
        report_damaged_snapshot(report, log, f"{what}: {error}")
        return False
    except StorageError:
        if report.process is None:
            raise
        return True  # the node that runs has replaced it by a newer one
    if stored.meta.version.rules > LATEST_RULES:
        rules = stored.meta.version.rules
        text = f"{what} needs apply rules {rules}, this program knows up to {LATEST_RULES}"
        report.add("fault", DATABASE_FILE, text, _NEWER)
    return True


def report_damaged_snapshot(report: CheckReport, log: StoredLog, text: str) -> None:
    """Report that the snapshot is damaged."""
    text = text.removesuffix(RECOVERY_ADVICE).rstrip(" .")
    if log.state.first_index == 1:
        advice = "the log has every entry: `qcore repair` removes the snapshot, and the node takes another"
        report.add("fault", DATABASE_FILE, text, advice, "drop_snapshot")
    else:
        report.add("fault", DATABASE_FILE, text, RECOVERY_ADVICE)


def _report_damage(
    report: CheckReport,
    log: StoredLog,
    damaged: list[_Damage],
    *,
    snapshot_is_sound: bool,
) -> None:
    covered = 0
    if log.snapshot is not None and snapshot_is_sound:
        covered = log.snapshot.meta.last_included_index
    # Rows with the right checksum that contradict the rest are no bit rot: nothing says which part is right.
    droppable = (
        bool(damaged)
        and damaged[-1].index <= covered <= log.state.last_index
        and not any(found.is_sound_row for found in damaged)
    )
    repair = "drop_covered" if droppable else None
    advice = (
        f"the snapshot covers it: `qcore repair` drops the entries up to {covered} from the log"
        if droppable
        else RECOVERY_ADVICE
    )
    for found in damaged[:_REPORTED]:
        report.add("fault", DATABASE_FILE, f"entry {found.index}: {found.why}", advice, repair)
    if len(damaged) > _REPORTED:
        what = f"{len(damaged) - _REPORTED} more entries are damaged, up to {damaged[-1].index}"
        report.add("fault", DATABASE_FILE, what, advice, repair)


def misfits(log: StoredLog) -> Iterator[Finding]:
    """Where log, snapshot, hard state and identity contradict each other."""
    state, membership, identity = log.state, log.membership, log.identity
    meta = None if log.snapshot is None else log.snapshot.meta

    def fault(what: str) -> Finding:
        return Finding("fault", DATABASE_FILE, what, RECOVERY_ADVICE)

    if meta is None and state.first_index != 1 and not state.has_snapshot:
        yield fault(
            f"the log begins at entry {state.first_index}, and there is no snapshot of what came before"
        )
    if meta is not None:
        covered = meta.last_included_index
        if state.first_index > covered + 1 or state.last_index < covered:
            yield fault(
                f"the snapshot ends at entry {covered}, the log holds {state.first_index} to {state.last_index}: they "
                "do not meet"
            )
        if meta.last_included_term > state.term:
            yield fault(
                f"the snapshot has term {meta.last_included_term}, the current term is only {state.term}"
            )
        reason = meta.membership.invalid_reason()
        if reason is not None:
            yield fault(f"no cluster can have the configuration of the snapshot: {reason}")
    if membership is None:
        if identity.cluster_id is not None and (meta is not None or state.last_index):
            yield fault(f"it belongs to cluster {identity.cluster_id}, and has no configuration")
        return
    if identity.cluster_id is None:
        yield Finding(
            "note",
            DATABASE_FILE,
            f"the node has not recorded yet that it belongs to cluster {membership.cluster_id}",
            "nothing: its next start does",
        )
    elif membership.cluster_id != identity.cluster_id:
        yield fault(
            f"it belongs to cluster {identity.cluster_id}, its configuration to {membership.cluster_id}"
        )
    if identity.node_id not in membership.members():
        yield Finding(
            "note",
            DATABASE_FILE,
            f"node {identity.node_id} is not a member in its newest configuration: it was removed, or lags behind",
            "if it was removed, stop it; to have it back, give it an empty data directory and add it again",
        )
