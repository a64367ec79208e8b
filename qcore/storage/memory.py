"""`MemoryStorage`: the durable log as a plain object, for tests, examples and volatile nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qcore.core.effects import Write
from qcore.core.entry import DurableState
from qcore.core.log.durable_state import apply_write, last_index
from qcore.errors import StorageError
from qcore.storage.interface import Identity
from qcore.storage.log_outline import LogOutline


class MemoryStorage:
    """A `LogStorage` that keeps everything in this object.

    Its content outlives `close()`, like a file. Call `reopen()` to simulate a restart.

    Args:
        node_id: the node that the data belongs to.
    """

    def __init__(self, node_id: int) -> None:
        self._identity = Identity(node_id, None)
        self._state = DurableState()
        self._outline = LogOutline()
        self._closed = False

    def identity(self) -> Identity:
        return self._identity

    def join_cluster(self, cluster_id: str) -> None:
        """See `LogStorage.join_cluster`."""
        self._require_open()
        self._identity.require_can_join(cluster_id, "this memory storage")
        self._identity = Identity(self._identity.node_id, cluster_id)

    def load(self) -> DurableState:
        """A copy of everything written. A commit index beyond the log's end is lowered to it."""
        self._require_open()
        hard_state = replace(
            self._state.hard_state,
            commit=min(self._state.hard_state.commit, last_index(self._state)),
        )
        return DurableState(hard_state, self._state.snapshot, list(self._state.entries))

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        """See `LogStorage.write`.

        Raises:
            ValueError: a write does not fit the log; nothing was written.
        """
        self._require_open()
        self._outline = self._outline.after(writes)
        for write in writes:
            apply_write(self._state, write)
        if commit is not None:
            self._state.hard_state.commit = max(self._state.hard_state.commit, commit)

    def close(self) -> None:
        """Close the storage until `reopen`. Idempotent."""
        self._closed = True

    def reopen(self) -> MemoryStorage:
        """Return the same data, as after a restart.

        Raises:
            StorageError: the object is still open.
        """
        if not self._closed:
            raise StorageError("this memory storage is still open: close it before reopening it")
        self._closed = False
        return self

    def _require_open(self) -> None:
        if self._closed:
            raise StorageError("this memory storage is closed: call reopen() first")
