"""The cluster version: the rules that give log entries their meaning, and the state machine that applies them.

The version is replicated state. A log entry of kind `version` raises it. Every older entry keeps its older
meaning, even when a newer program applies it again. A snapshot carries the version at its last entry.

| rules | since | what an entry of these rules means |
|---|---|---|
| 1 | 0.1.0 | sessions expire by the log time of later session entries; the state machine is not recorded |
| 2 | 0.2.0 | sessions expire by the cluster clock (`Entry.clock_us`), idle or not; the state machine is recorded |
| 3 | 0.2.0 | the work of a replica for one entry is bounded; results are checked; sessions are counted in bytes |
| 4 | 0.2.0 | the entity store has the commands of the `Store...` messages; a field with entities keeps its kind |
| 5 | 0.2.0 | the configuration holds public keys; users, roles and join tokens are replicated; entries name users |

Message fields and storage formats that older programs refuse are used once an entry that raises the rules is in the
log. The leader appends it only after every member has reported that it supports those rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import not_
from typing import ClassVar, Final, TypeGuard

#: The newest rules that this program knows.
LATEST_RULES = 5

#: Metadata of a field that 0.1.0 cannot read: it is not written while it is 0, false or empty, as it is until the log
#: holds an entry that raises the rules to 2. (The core validates nothing: pydantic reads the metadata in other layers.)
SINCE_RULES_2: Final[Mapping[str, object]] = {"exclude_if": not_}

#: From these rules on, every member of a cluster of nodes has a public key in the configuration.
KEYS_SINCE_RULES: Final = 5

#: What to do about rules that are too old.
HOW_TO_RAISE: Final = (
    "they rise by themselves once every member is connected, runs a qcore that has them, and has no lower --max-rules; "
    "`qcore cluster status` shows which member they wait for"
)

_MAX_NUMBER = 2**31 - 1
_MAX_NAME_CHARS = 64
_NUMBER = {"strict": True, "ge": 1, "lt": _MAX_NUMBER + 1}
_NAME = {"strict": True, "max_length": _MAX_NAME_CHARS}


@dataclass(slots=True, frozen=True)
class ClusterVersion:
    """The active version of a cluster.

    Attributes:
        rules: number of the apply rules; see the module's table.
        machine: name of the state machine; empty where it is not recorded (rules 1).
        machine_version: active version of the state machine.
    """

    __pydantic_config__: ClassVar[Mapping[str, object]] = {"extra": "forbid"}

    rules: int = field(default=1, metadata=_NUMBER)
    machine: str = field(default="", metadata=_NAME)
    machine_version: int = field(default=1, metadata=_NUMBER)

    def to_json(self) -> str:
        """Canonical text, as stored in an entry of kind `version`."""
        return compact_json(
            {
                "rules": self.rules,
                "machine": self.machine,
                "machine_version": self.machine_version,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> ClusterVersion:
        """Inverse of `to_json`.

        Raises:
            ValueError: the text is not a version.
        """
        found = object_in(text)
        rules, machine = found.pop("rules", 1), found.pop("machine", "")
        machine_version = found.pop("machine_version", 1)
        if not _is_number(rules) or not _is_number(machine_version):
            raise ValueError(f"rules and machine_version are numbers from 1 to {_MAX_NUMBER}")
        if type(machine) is not str or len(machine) > _MAX_NAME_CHARS:
            raise ValueError(f"machine is a text of at most {_MAX_NAME_CHARS} characters")
        if found:
            raise ValueError(f"unknown key {min(found)!r:.100}")
        return cls(rules, machine, machine_version)

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


def is_first_version(version: ClusterVersion) -> bool:
    """Whether the version need not be written, because it is the only one that 0.1.0 knew."""
    return version == FIRST_VERSION


#: As `SINCE_RULES_2`, for a field with a version.
VERSION_SINCE_RULES_2: Final[Mapping[str, object]] = {"exclude_if": is_first_version}


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


def _is_number(value: object) -> TypeGuard[int]:
    return type(value) is int and 1 <= value <= _MAX_NUMBER


def compact_json(values: Mapping[str, object]) -> str:
    """The canonical text of an object: no spaces, and no escapes but those that JSON requires."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def object_in(text: str) -> dict[str, object]:
    """Read a JSON object.

    Raises:
        ValueError: the text is not a JSON object, or holds half of a surrogate pair.
    """
    try:
        found: object = json.loads(text)
        if "\\u" in text:  # an escape can name half of a pair, which UTF-8 cannot write
            compact_json({"": found}).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found
