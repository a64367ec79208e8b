"""`ClusterState`: what a simulated cluster is like at one moment of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from qcore.sim.simulation import NodeState, World
from qcore.sim.verdict.result import Json
from qcore.trace import TraceRecord

#: How many of the last records are kept.
LAST_RECORDS: Final = 12


@dataclass(slots=True, frozen=True)
class MessageInFlight:
    """A message between nodes that was sent, and neither arrived nor was lost.

    Attributes:
        sent_ms: when it was sent.
        sender, receiver: the nodes.
        message: its name.
        term: its term; 0 if it has none.
        note: a summary of its content.
    """

    sent_ms: float
    sender: int
    receiver: int
    message: str
    term: int
    note: str


@dataclass(slots=True, frozen=True)
class ClusterState:
    """A cluster at one moment.

    Attributes:
        now_ms: simulated milliseconds.
        records: how many records the trace has until then.
        nodes: the state of each node.
        in_flight: the messages between nodes, in the order in which they were sent.
        open_operations: how many operations of clients have no outcome yet.
        last: the last records of the trace, the newest last.
    """

    now_ms: float
    records: int
    nodes: tuple[NodeState, ...]
    in_flight: tuple[MessageInFlight, ...]
    open_operations: int
    last: tuple[TraceRecord, ...]

    def to_json(self) -> dict[str, Json]:
        """The object that `qcore sim replay -o json` prints."""
        return {
            "now_ms": self.now_ms,
            "records": self.records,
            "nodes": [asdict(node) for node in self.nodes],
            "in_flight": [asdict(message) for message in self.in_flight],
            "open_operations": self.open_operations,
            "last": [
                {"t_us": record.t_us, "kind": record.kind, "node": record.node, **record.fields}
                for record in self.last
            ],
        }


def cluster_state(world: World, records: Sequence[TraceRecord]) -> ClusterState:
    """The state of a run now.

    Args:
        world: the run.
        records: its trace until now.
    """
    sent: dict[str, MessageInFlight] = {}
    open_operations: dict[tuple[int, int], None] = {}
    for record in records:
        values = record.fields
        match record.kind:
            case "send":
                sent[values["id"]] = MessageInFlight(
                    record.t_us / 1000,
                    record.node,
                    values["to"],
                    values["message"],
                    values["term"],
                    values["note"],
                )
            case "recv" | "drop":
                sent.pop(values["id"], None)
            case "op":
                operation = (values["client"], values["op_id"])
                if values["phase"] == "invoke":
                    open_operations[operation] = None
                else:
                    open_operations.pop(operation, None)
            case _:
                pass
    return ClusterState(
        world.now_ms,
        len(records),
        tuple(world.node(node) for node in sorted(world.nodes)),
        tuple(sent.values()),
        len(open_operations),
        tuple(records[-LAST_RECORDS:]),
    )
