"""What the Patroni drill records. All times are seconds of `time.monotonic` in the process of the drill."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Outcome(Enum):
    """What a client knows of a write."""

    ACKNOWLEDGED = "acknowledged"  # the commit succeeded without a warning
    REFUSED = "refused"  # the server rejected it before the commit
    UNKNOWN = (
        "unknown"  # the connection ended, or the server warned that a standby may lack the row
    )


@dataclass(frozen=True, slots=True)
class RowId:
    """A row: who wrote it, and the how many-th of this client it is."""

    source: str
    number: int


@dataclass(frozen=True, slots=True)
class Write:
    """An attempt to write one row.

    Attributes:
        row: the row.
        instance: the PostgreSQL instance that received it.
        began_s, ended_s: when the client sent it, and when it knew the outcome.
        outcome: what the client knows.
        timeline: the timeline of PostgreSQL on which the row was written; None unless it was acknowledged.
    """

    row: RowId
    instance: str
    began_s: float
    ended_s: float
    outcome: Outcome
    timeline: int | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """What an instance reported of itself at some moment between `began_s` and `ended_s`.

    Attributes:
        instance: the instance.
        began_s, ended_s: when the question was sent, and when the answer came.
        is_primary: whether it is not in recovery.
        start: when its server process started, as text. A primary becomes a replica only by a restart.
    """

    instance: str
    began_s: float
    ended_s: float
    is_primary: bool
    start: str


@dataclass(frozen=True, slots=True)
class DrillFault:
    """A fault: from just before it was made until it was over and the cluster was healthy again.

    Attributes:
        kind: its name, see `patroni_faults.FAULTS`.
        target: what it struck.
        began_s: when it was about to be made.
        healed_s: when what it struck ran again, and all instances were healthy.
        primary_before, primary_after: the primary by Patroni's REST API before the fault and after it.
    """

    kind: str
    target: str
    began_s: float
    healed_s: float
    primary_before: str
    primary_after: str


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the cluster at the end, as Patroni's REST API shows it."""

    name: str
    role: str
    state: str
    timeline: int


@dataclass(slots=True)
class PatroniRecords:
    """All that a drill recorded.

    Attributes:
        writes, sights, faults: in the order of their ends.
        rows: the rows that each instance holds at the end, by instance.
        members: the members at the end.
    """

    writes: list[Write] = field(default_factory=list)
    sights: list[Sight] = field(default_factory=list)
    faults: list[DrillFault] = field(default_factory=list)
    rows: dict[str, frozenset[RowId]] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
