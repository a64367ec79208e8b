"""`Choice`: one thing that may happen next in the explored cluster, and its text."""

from __future__ import annotations

from typing import Final, NamedTuple

#: Kinds of choices -> the budget that each uses; None: no budget bounds it.
BUDGET_OF: Final[dict[str, str | None]] = {
    "deliver": None,
    "sync": None,
    "timeout": "timeouts",
    "heartbeat": "heartbeats",
    "write": "writes",
    "read": "reads",
    "crash": "crashes",
    "transfer": "transfers",
    "change": "changes",
    "snapshot": "snapshots",
    "drop": "losses",
    "duplicate": "duplicates",
}


class Choice(NamedTuple):
    """One step of an exploration.

    Attributes:
        kind: a key of `BUDGET_OF`.
        node: the node that takes the step; of a message its receiver.
        argument: of `deliver`, `drop` and `duplicate` the number of the message; of `crash` how many unsynced writes
            survive; of `write` and `read` its number; of `transfer` the target; of `change` the new voters (node n
            is bit n - 1). Else 0.
    """

    kind: str
    node: int
    argument: int = 0
