"""`AwaitedUsers`: whether the log holds a user that this node has not applied yet.

A node that starts without a majority has entries that it cannot apply, because it does not know whether they are
committed. If one of them adds the first user, the node must not take its cluster for one without users.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from qcore.core.entry import Entry
from qcore.core.raft import RaftCore
from qcore.errors import Overloaded
from qcore.replica.access.access_commands import SetUser, parse_command

#: The retry hint, ms. A node with a majority applies the entry in less time.
_RETRY_MS: Final = 50


class AwaitedUsers:
    """Looks at each entry once.

    Args:
        core: has the log.
        applied_index: returns the newest entry that is applied.
    """

    def __init__(self, core: RaftCore, applied_index: Callable[[], int]) -> None:
        self._core = core
        self._applied_index = applied_index
        #: The newest entry that was looked at, and its term. If it is replaced, so may be those before it.
        self._seen, self._seen_term = 0, self._core.term_at(0)
        #: The newest entry among these that adds or changes a user; 0 for none.
        self._found = 0

    def problem(self) -> Overloaded | None:
        """Why requests without a user are refused although there is no user; None if they are not."""
        core, applied = self._core, self._applied_index()
        last = core.last_log_index
        if last > applied:
            if core.term_at(self._seen) != self._seen_term:
                self._seen = self._found = 0
            for index in range(max(self._seen, applied) + 1, last + 1):
                if _sets_user(core.entry_at(index)):
                    self._found = index
            self._seen, self._seen_term = last, core.term_at(last)
            if self._found > applied:
                return Overloaded.because(
                    f"the log of this node holds a user (index {self._found}), and the node does not know yet whether "
                    "a majority has it: it answers when it has reached one",
                    _RETRY_MS,
                )
        return None


def _sets_user(entry: Entry | None) -> bool:
    if entry is None or entry.kind != "access":
        return False
    try:
        return isinstance(parse_command(entry.data), SetUser)
    except ValueError:
        return False
