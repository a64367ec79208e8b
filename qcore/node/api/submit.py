"""How request handlers give events to the replica, and how long an admin request may take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from qcore.replica.events import ReplicaEvent, Reply

#: Makes the event for a request id.
MakeEvent = Callable[[int], ReplicaEvent]
#: Gives the replica the event made for a fresh request id, and calls back with the outcome.
SubmitEvent = Callable[[MakeEvent, Callable[[Reply], None]], None]

#: The longest timeout that an admin request may ask for.
MAX_TIMEOUT_MS: Final = 3_600_000
