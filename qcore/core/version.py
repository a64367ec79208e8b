"""The cluster version: the rules that give log entries their meaning, and the state machine that applies them.

The version is replicated state. A log entry of kind `version` raises it. Every older entry keeps its older
meaning, even when a newer program applies it again. A snapshot carries the version at its last entry.

| rules | since | what an entry of these rules means |
|---|---|---|
| 1 | 0.1.0 | sessions expire by the log time of later session entries; the state machine is not recorded |
| 2 | 0.2.0 | sessions expire by the cluster clock (`Entry.clock_us`), idle or not; the state machine is recorded |
| 3 | 0.2.0 | the work of a replica for one entry is bounded; results are checked; sessions are counted in bytes |

Message fields and storage formats that older programs refuse are used once an entry that raises the rules is in the
log. The leader appends it only after every member has reported that it supports those rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, with_config

#: The newest rules that this program knows.
LATEST_RULES = 3


_Number = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
_Name = Annotated[str, Field(strict=True, max_length=64)]


@with_config(ConfigDict(extra="forbid"))
@dataclass(slots=True, frozen=True)
class ClusterVersion:
    """The active version of a cluster.

    Attributes:
        rules: number of the apply rules; see the module's table.
        machine: name of the state machine; empty where it is not recorded (rules 1).
        machine_version: active version of the state machine.
    """

    rules: _Number = 1
    machine: _Name = ""
    machine_version: _Number = 1

    def to_json(self) -> str:
        """Canonical text, as stored in an entry of kind `version`."""
        return _adapter().dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> ClusterVersion:
        """Inverse of `to_json`.

        Raises:
            pydantic.ValidationError: the text is not a version.
        """
        return _adapter().validate_json(text)

    def takes_effect_after(self, active: ClusterVersion) -> bool:
        """Whether an entry with this version changes a cluster whose version is `active`.

        A version for another machine, or a lower one, changes nothing: two leaders may have appended the same step.
        """
        other_machine = bool(active.machine) and self.machine != active.machine
        back = self.rules < active.rules or self.machine_version < active.machine_version
        return not other_machine and not back


def activated_versions(versions: Iterable[ClusterVersion]) -> list[ClusterVersion]:
    """The versions of a log, oldest first, that become active one after the other when it is applied."""
    found: list[ClusterVersion] = []
    for version in versions:
        if not found or version.takes_effect_after(found[-1]):
            found.append(version)
    return found


#: The version of a cluster whose log holds no entry of kind `version`.
FIRST_VERSION = ClusterVersion()


@dataclass(slots=True, frozen=True)
class VersionSupport:
    """What one program can apply, as its `Hello` reports it. Each range includes both ends.

    Attributes:
        rules_min, rules_max: apply rules.
        machine: name of its state machine; empty for a program that does not report it (0.1.0).
        machine_min, machine_max: versions of that machine.
    """

    rules_min: int = 1
    rules_max: int = 1
    machine: str = ""
    machine_min: int = 1
    machine_max: int = 1

    def incompatibility_with(self, active: ClusterVersion) -> str | None:
        """Why this program cannot be a member of a cluster with the version `active`, or None if it can."""
        if not self.rules_min <= active.rules <= self.rules_max:
            return (
                f"the cluster's apply rules are version {active.rules}, this program supports "
                f"{_range(self.rules_min, self.rules_max)}"
            )
        if not active.machine:
            return None
        if self.machine != active.machine:
            runs = repr(self.machine) if self.machine else "one that does not report its name"
            return f"the cluster's state machine is {active.machine!r}, this program runs {runs}"
        if not self.machine_min <= active.machine_version <= self.machine_max:
            return (
                f"this program supports {_range(self.machine_min, self.machine_max)} of state machine "
                f"{active.machine!r}, and not version {active.machine_version}"
            )
        return None


def _range(low: int, high: int) -> str:
    return f"version {low}" if low == high else f"versions {low} to {high}"


@cache
def _adapter() -> TypeAdapter[ClusterVersion]:
    return TypeAdapter(ClusterVersion)
