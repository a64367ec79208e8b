"""`LateAcknowledgements`: recognises acknowledgements that come after their entries were committed without them."""

from __future__ import annotations

from qcore.core.events import MessageReceived
from qcore.core.messages import AppendEntriesResponse
from qcore.core.raft import RaftCore


class LateAcknowledgements:
    """Decides which messages need no separate step. Of three nodes, one is late with nearly every write.

    Args:
        core: of this node.
    """

    def __init__(self, core: RaftCore) -> None:
        self._core = core

    def may_wait(self, event: MessageReceived) -> bool:
        """Whether the message may be passed on with the next event, because it has no other effect now.

        Responses to heartbeats do not wait, because they also report the clock of their sender. Neither do those of
        learners, which an operator may wait for. The next event is a heartbeat at the latest.
        """
        message, core = event.message, self._core
        if not (isinstance(message, AppendEntriesResponse) and message.success):
            return False
        last = core.last_log_index
        if message.match_index != last or message.term != core.term or not core.is_settled:
            return False
        known = core.match_index_of(event.from_id)
        return known is not None and known < last and not core.membership.learners
