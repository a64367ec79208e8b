"""The rules of `workload.kind`: what goes together with sets and lists."""

from __future__ import annotations

from qcore.sim.scenario.specs.cluster_spec import ClusterSpec
from qcore.sim.scenario.specs.expect_spec import ExpectSpec
from qcore.sim.scenario.specs.workload_spec import WorkloadSpec


def check_kind(
    workload: WorkloadSpec, cluster: ClusterSpec, expect: ExpectSpec, operations: list[str]
) -> None:
    """Check that nothing needs registers if the clients use sets or lists.

    Args:
        operations: the operations of the timeline on registers, each with its place.

    Raises:
        ValueError: something does. The text names it.
    """
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
    for where in operations:
        raise ValueError(
            f"{where} goes to a register, and workload.kind: {kind} has none; leave it out"
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
