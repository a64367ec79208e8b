"""`ApplyContext`: where and when a command is applied. Compiled: each replica makes one for each command."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.compiled_build import mypyc_attr, register_copies, restore_source
from qcore.core.version import LATEST_RULES
from qcore.machines.permissions import Permissions


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class ApplyContext:
    """Where and when a command is applied. It is the same on every replica, no matter when that applies the command.

    Attributes:
        index: the entry's index in the log. It grows, but not always by one. Derive ids from it.
        time_us: the leader's wall clock when it appended the entry, microseconds since the Unix epoch. It never goes
            back. Use it for time stamps, and use no other wall clock.
        version: the active version of the state machine, one of those that its class declares.
        clock_us: the cluster clock, microseconds. It never goes back, runs only while there is a leader, and does not
            depend on wall clocks. Use it for expiry. It is 0 while the cluster has the rules of 0.1.0.
        rules: the active apply rules; see `qcore.core.version`.
        permissions: what the user of the entry may do at this index, according to the entries before it; None while the
            cluster has no users, so that everything is allowed. The replica has checked the action `write`.
    """

    index: int
    time_us: int
    version: int = 1
    clock_us: int = 0
    rules: int = LATEST_RULES
    permissions: Permissions | None = None

    def __init__(
        self,
        index: int,
        time_us: int,
        version: int = 1,
        clock_us: int = 0,
        rules: int = LATEST_RULES,
        permissions: Permissions | None = None,
    ) -> None:
        self.index = index
        self.time_us = time_us
        self.version = version
        self.clock_us = clock_us
        self.rules = rules
        self.permissions = permissions


restore_source(globals())
register_copies(globals())
