"""What a node shows of the comparison of the members' states: log lines, and the mark of a node that is diverged.

`qcore.replica.divergence` compares. On a leader, `DivergenceWatch` logs when members differ and when they agree again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from qcore.core.status import CoreStatus
from qcore.errors import StorageError
from qcore.files import read_regular
from qcore.node.observability.logs import NodeLog
from qcore.replica.divergence.member_comparison import Comparison
from qcore.storage.files.atomic_file import AtomicFile
from qcore.storage.files.synced_files import open_and_sync

#: How often a leader looks at the comparison, seconds.
CHECK_INTERVAL_S: Final = 1.0
#: A difference that lasts is logged again after this time, seconds.
LOG_AGAIN_S: Final = 60.0
#: The most digests that are read from one member, several times the number that a member sends.
_MAX_DIGESTS: Final = 64

FILE_NAME: Final = "diverged.json"
_MAX_FILE_BYTES: Final = 4096


def digests_in(metrics: Mapping[str, object]) -> dict[int, str]:
    """The digests by index in a member's metrics object. Version 0.1.0 sends only that of the current state."""
    found: dict[int, str] = {}
    extra = metrics.get("qcore")
    if not isinstance(extra, dict):
        return found
    kept = extra.get("state_digests")
    if isinstance(kept, dict):
        for index, digest in list(kept.items())[-_MAX_DIGESTS:]:
            if index.isascii() and index.isdigit() and len(index) <= 20 and isinstance(digest, str):
                found[int(index)] = digest
    applied, digest = extra.get("applied_index"), extra.get("state_hash")
    # A member has no digest while it restores from a snapshot, and before the first entry there is nothing to compare.
    if isinstance(applied, int) and applied and isinstance(digest, str) and digest:
        found[applied] = digest
    return found


class DivergenceMark(Protocol):
    """The durable mark of a node that is diverged."""

    def load(self) -> int | None:
        """The index at which the node was found to differ; None without a mark.

        Raises:
            StorageError: the mark cannot be read.
        """
        ...

    def save(self, index: int | None) -> None:
        """Set the mark, or remove it (None).

        Raises:
            StorageError: it cannot be written.
        """
        ...


class DivergenceMarkFile:
    """The file `diverged.json` in the data directory. It exists exactly while the node is marked.

    Args:
        directory: the data directory.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME

    def load(self) -> int | None:
        """See `DivergenceMark`. A file that is not what was written counts as a mark at index 0."""
        try:
            found: object = json.loads(read_regular(self._path, _MAX_FILE_BYTES))
        except FileNotFoundError:
            return None
        except ValueError:
            return 0
        except OSError as error:
            raise StorageError(f"{self._path} cannot be read: {error.strerror}") from error
        index = found.get("index") if isinstance(found, dict) else None
        return index if isinstance(index, int) else 0

    def save(self, index: int | None) -> None:
        """See `DivergenceMark`."""
        try:
            if index is None:
                self._path.unlink(missing_ok=True)
                open_and_sync(self._path.parent)
                return
            new = AtomicFile(self._path)
            try:
                new.file.write(json.dumps({"index": index}).encode())
                new.publish(replace=True)
            finally:
                new.discard()
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error.strerror}") from error


class DivergenceWatch:
    """On a leader, logs when the members' states differ and when they agree again.

    Args:
        status: returns the core's status.
        compare: returns the newest comparison.
        log: gets the lines.
        seconds: a monotonic clock, seconds.
    """

    def __init__(
        self,
        status: Callable[[], CoreStatus],
        compare: Callable[[], Comparison[int] | None],
        log: NodeLog,
        seconds: Callable[[], float],
    ) -> None:
        self._status = status
        self._compare = compare
        self._log = log
        self._seconds = seconds
        self._found: Comparison[int] | None = None
        self._logged_at: float | None = None

    @property
    def found(self) -> Comparison[int] | None:
        """The result of the last comparison; None before the first one, and while this node does not lead."""
        return self._found if self._status().role == "leader" else None

    def check(self) -> None:
        """Look at the comparison, and log a change."""
        if self._status().role != "leader":
            self._found, self._logged_at = None, None
            return
        found = self._compare()
        if found is None:
            self._found = None
            return
        self._found = self._newest(found)
        self._log_difference(self._found)

    def _newest(self, found: Comparison[int]) -> Comparison[int]:
        """The result to keep. A known difference does not end only because one of its members is silent."""
        before = self._found
        if found.differs_at is not None or before is None or before.differs_at is None:
            return found
        silent = before.digests.keys() - {*found.compared}
        members = {member for member, _ in self._status().membership.addresses}
        return before if silent & members else found

    def _log_difference(self, found: Comparison[int]) -> None:
        now = self._seconds()
        if found.differs_at is None:
            if self._logged_at is not None:
                self._logged_at = None
                self._log.info("the states of the members are equal again", index=found.index)
        elif self._logged_at is None or now - self._logged_at >= LOG_AGAIN_S:
            self._logged_at = now
            self._log.error(
                "the states of the members differ: see `qcore cluster health` and docs/operate/operations.md",
                index=found.differs_at,
                **{f"node_{member}": digest for member, digest in found.digests.items()},
            )
