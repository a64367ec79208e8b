"""`HeldSends`: lets the connections of a node send what one step produces in one frame each."""

from __future__ import annotations

from collections.abc import Callable


class HeldSends:
    """While `active`, connections queue what they send. `send_all` then sends each queue.

    A frame costs a system call, and the other end a turn of its event loop. So the messages of one step share a frame:
    the requests that a follower forwards, the leader's responses to them, and the responses to one client.

    Attributes:
        active: whether connections must queue. The driver sets it while it executes a step, and then clears it.
        waiting: functions that send the queue of a connection. After a step with any, call `send_all`.
    """

    def __init__(self) -> None:
        self.active = False
        self.waiting: list[Callable[[], None]] = []

    def send_all(self) -> None:
        """Send what was held back."""
        self.active = False
        waiting, self.waiting = self.waiting, []
        for flush in waiting:
            flush()
