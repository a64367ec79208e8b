"""What a check of a data directory has found: `Finding` and `CheckReport`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from qcore.core.log.restore import RECOVERY_ADVICE
from qcore.core.version import ClusterVersion
from qcore.errors import QcoreError
from qcore.storage.live.log_reader import StoredLog

#: A fault needs the operator. A note is only worth knowing: the node starts, and has everything that was acknowledged.
Severity = Literal["fault", "note"]


@dataclass(slots=True, frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        severity: see `Severity`.
        where: the file.
        what: what is wrong.
        advice: what to do.
        repair: what `qcore repair` can do about it, the key of a step in `qcore.recovery.repairs.data_dir_repair`; None
            for nothing.
    """

    severity: Severity
    where: str
    what: str
    advice: str
    repair: str | None = None

    def as_json(self) -> dict[str, str | bool]:
        """The finding as a JSON object."""
        return {
            "severity": self.severity,
            "where": self.where,
            "what": self.what,
            "advice": self.advice,
            "repairable": self.repair is not None,
        }


def finding_of(error: QcoreError, where: Path) -> Finding:
    """The fault that an error of reading shows. Its text ends with what to do."""
    text = str(error)
    what = text.removeprefix(f"{where}: ").removeprefix(f"{where} ")
    if RECOVERY_ADVICE in what:
        what = what.removesuffix(RECOVERY_ADVICE).rstrip(" .:")
        return Finding("fault", where.name, what, RECOVERY_ADVICE)
    what, _, advice = what.rpartition(": ") if ": " in what else (what, "", "")
    return Finding("fault", where.name, what, advice or "see the text")


@dataclass(slots=True)
class CheckReport:
    """What a check has found in one data directory.

    Attributes:
        directory: the data directory.
        process: the process that runs a node on it; None if no node runs.
        log: whose log it is, its bounds and its snapshot; None if that cannot be read.
        layout: the version of the database's layout; 0 if it cannot be read.
        version: the newest cluster version in log and snapshot; None if there is none.
        entries: how many entries are sound.
        acknowledged_index: a lower bound of the last index that the node had stored durably; None if unknown.
        findings: in the order of the checks.
    """

    directory: Path
    process: str | None = None
    log: StoredLog | None = None
    layout: int = 0
    version: ClusterVersion | None = None
    entries: int = 0
    acknowledged_index: int | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def faults(self) -> list[Finding]:
        """The findings that need the operator."""
        return [found for found in self.findings if found.severity == "fault"]

    def add(
        self, severity: Severity, where: str, what: str, advice: str, repair: str | None = None
    ) -> None:
        """Add a finding."""
        self.findings.append(Finding(severity, where, what, advice, repair))

    def add_error(self, error: QcoreError, where: Path) -> None:
        """Add the fault that an error of reading shows."""
        self.findings.append(finding_of(error, where))

    def as_json(self) -> dict[str, object]:
        """The report as a JSON object."""
        log = self.log
        facts: dict[str, object] = {}
        if log is not None:
            meta = None if log.snapshot is None else log.snapshot.meta
            facts = {
                "node_id": log.identity.node_id,
                "cluster_id": log.identity.cluster_id,
                "term": log.state.term,
                "voted_for": log.state.voted_for,
                "commit_index": log.state.commit,
                "first_index": log.state.first_index,
                "last_index": log.state.last_index,
                "snapshot_index": None if meta is None else meta.last_included_index,
                "snapshot_term": None if meta is None else meta.last_included_term,
            }
        return {
            "data_dir": str(self.directory),
            "sound": not self.faults,
            "running_process": self.process,
            "layout": self.layout,
            "apply_rules": None if self.version is None else self.version.rules,
            "machine": None if self.version is None else self.version.machine,
            **facts,
            "sound_entries": self.entries,
            "findings": [found.as_json() for found in self.findings],
        }
