"""The rules of what clients use: what goes together with counters, sets and lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from qcore.errors import ConfigError
from qcore.sim.scenario.specs.cluster_spec import ClusterSpec
from qcore.sim.scenario.specs.expect_spec import ExpectSpec
from qcore.sim.scenario.specs.watcher_spec import REGISTER_TYPE
from qcore.sim.scenario.specs.workload_spec import WorkloadSpec


class RegisterOperation(Protocol):
    """An operation of the timeline: `read` or `write` of a register."""

    @property
    def op(self) -> str: ...

    @property
    def key(self) -> str | None: ...


def check_kind(
    workload: WorkloadSpec,
    cluster: ClusterSpec,
    expect: ExpectSpec,
    operations: Sequence[tuple[str, RegisterOperation]],
) -> None:
    """Check that counters have registers, and that nothing needs registers if the clients use sets or lists.

    Args:
        operations: the operations of the timeline on registers, each after its place.

    Raises:
        ValueError: something does. The text names it.
    """
    if workload.sessions and cluster.machine != "register":
        raise ValueError("workload.sessions adds to registers: it needs the machine register")
    kind = workload.kind
    if kind == "registers":
        checkers = {"set_elements": "set", "append_order": "append"}
        for name in expect.violation or ():
            if name in checkers:
                raise ValueError(
                    f"expect.violation: {name} is found with workload.kind: {checkers[name]}; set it"
                )
        return
    if "machine" in cluster.model_fields_set:
        raise ValueError(
            f"workload.kind: {kind} brings a separate state machine; leave out cluster.machine"
        )
    for where, operation in operations:
        raise ValueError(
            f"{where}: {operation.op} goes to a register, and workload.kind: {kind} has none; leave it out"
        )
    if workload.watchers.count:
        raise ValueError(
            f"workload.watchers watch registers, and workload.kind: {kind} has none; leave them out"
        )
    for key in ("linearizable", "consistency"):
        if getattr(expect, key) is not None:
            raise ValueError(
                f"expect.{key} judges registers, and workload.kind: {kind} has none: leave it out; sets and lists are "
                "always judged"
            )


def check_keys(workload: WorkloadSpec, operations: Sequence[tuple[str, RegisterOperation]]) -> None:
    """Check that only registers of the workload are named. With the machine entity, no others exist.

    Raises:
        ValueError: another one is named.
    """
    keys = [f"k{number}" for number in range(workload.keys)]
    topics = (*keys, REGISTER_TYPE)
    if strangers := [topic for topic in workload.watchers.topics if topic not in topics]:
        raise ValueError(
            f"workload.watchers.topics: {strangers} are no registers of the workload; with the machine entity "
            f"there are {', '.join(keys)} (workload.keys), and {REGISTER_TYPE} for all of them"
        )
    for where, operation in operations:
        if operation.key is not None and operation.key not in keys:
            raise ValueError(
                f"{where}: {operation.op}: there is no key {operation.key!r}; with the machine "
                f"entity there are {', '.join(keys)} (workload.keys)"
            )


def reject_collections(workload: WorkloadSpec, what: str) -> None:
    """Check that clients use neither sets nor lists, because the caller gives `what` in their place.

    Raises:
        ConfigError: they do.
    """
    if workload.kind != "registers":
        raise ConfigError(
            f"workload.kind: {workload.kind} goes with a separate state machine, not with {what}; leave one out"
        )
