"""The types by which request handlers submit events to the replica, and the longest timeout of an admin request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from qcore.replica.events import ReplicaEvent, Reply

#: Makes the event for a request id.
MakeEvent = Callable[[int], ReplicaEvent]
#: Makes the event with a new request id, passes it to the replica, and calls back with the outcome.
SubmitEvent = Callable[[MakeEvent, Callable[[Reply], None]], None]

#: The longest timeout that an admin request may ask for.
MAX_TIMEOUT_MS: Final = 3_600_000
