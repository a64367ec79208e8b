"""What the ends of a connection learn when the receiver of a corrupted message closes it, as real nodes do.

Between nodes, the receiver knows immediately and the sender when the signal arrives; the next message or dial opens
another connection. A client whose request or response was corrupted learns that its connection was lost. So does a
watcher, whose connection is reset.
"""

from __future__ import annotations

from qcore.core.events import PeerUnreachable
from qcore.sim.workload.sim_client import RequestMessage, ResponseMessage
from qcore.sim.workload.watcher_messages import (
    CloseWatch,
    ConnectionReset,
    FromNode,
    OpenWatch,
    Probe,
)
from qcore.sim.world.hosts.segments import Segment
from qcore.sim.world.network import Link, Network
from qcore.sim.world.programs.frames import ClientFrame, NodeFrame, Reset


def close_connection(network: Network, link: Link, payload: object) -> None:
    """Close the connection on which a corrupted message arrived.

    Args:
        network: the network of the run.
        link: the link of the message.
        payload: the message.
    """
    back = network.link(link.target, link.source)
    match payload:
        case Segment():
            return  # TCP drops it without a word, and its sender repeats it
        case RequestMessage() | ResponseMessage():
            lost = ResponseMessage(payload.op, payload.attempt)
            _inform_client(network, link, back, lost)
        case OpenWatch() | Probe() | CloseWatch() | FromNode():
            reset = FromNode(payload.connection, 0, ConnectionReset())
            _inform_client(network, link, back, reset)
        case ClientFrame() | NodeFrame():
            _inform_client(network, link, back, NodeFrame(payload.connection, 0, Reset()))
        case _:
            link.receive(link.source, PeerUnreachable(link.source), "")
            network.signal(back, PeerUnreachable(link.target))


def _inform_client(network: Network, link: Link, back: Link, notice: object) -> None:
    """Inform the client: immediately if it is the receiver, else by a signal."""
    if link.target < 0:
        link.receive(link.source, notice, "")
    else:
        network.signal(back, notice)
