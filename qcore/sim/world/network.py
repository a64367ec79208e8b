"""The simulated network: a `networkx` graph of directed links between nodes and clients.

Vertices are integers: nodes are positive, client k is -k. Each edge carries a `Link`.

A link keeps the order of its messages, as a TCP connection does, unless it is set to reorder. A reordered message takes
an extra delay and may be overtaken. A cut link loses the messages that are sent into it and those in transit.
A clogged link delivers nothing: what would arrive waits at its end, in order, until the clog is over.
The receiver of a corrupted message finds the damage by the checksum. It drops the message and closes the connection.
Each link draws its latencies from one random stream and its impairments from another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qcore.compiled_build import register_copies
from qcore.core.entry import Entry
from qcore.core.messages import AppendEntries, InstallSnapshot
from qcore.replica.messages import Forward, ForwardResponse
from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.scenario.distributions import Distribution, Sampler, fixed, uniform
from qcore.sim.world.clock.engine import NORMAL, URGENT, Engine, SimEvent
from qcore.sim.world.corruption import CorruptFrame, corrupt
from qcore.sim.world.hosts.segments import Segment
from qcore.sim.world.random_streams import Streams

if TYPE_CHECKING:
    import networkx

#: Receives (source, payload, message id) at the end of a link.
Receiver = Callable[[int, object, str], None]
#: May take a message from its link. Returns what it does with the message, `held` or `dropped`, or None.
Interceptor = Callable[["Link", object, str], str | None]
#: Whether a message on this link would make a difference at its end.
HasReceiver = Callable[["Link"], bool]
#: Called for each lost message: (link, payload, message id, why).
DropListener = Callable[["Link", object, str, str], None]
#: Called when the receiver closes the connection on which this message arrived.
CloseListener = Callable[["Link", object], None]

_MESSAGE_OVERHEAD_BYTES = 160
#: Never duplicated: forwarded requests go over one connection, which does not send them twice.
_SENT_ONCE = (Forward, ForwardResponse)
#: Compiled, a constant is read directly, and a name of a module that is not compiled by a look into a table.
_CORRUPT: Final = CorruptFrame
_ONE_MS = fixed(1)
_REORDER_EXTRA = uniform(0, 20)


@dataclass(frozen=True)
class LinkQuality:
    """How a link treats its messages. Probabilities are per message.

    Attributes:
        latency: one-way delay.
        loss: probability that a message vanishes.
        duplicate: probability that it arrives twice, the copy after a separate delay.
        reorder: probability that it takes `reorder_extra` more time, and may be overtaken.
        corrupt: probability that it changes on its way; its receiver drops it.
        bandwidth_bytes_per_s: capacity, for which messages queue; None for unlimited.
        queue_length: how many messages the queue holds, with the one that is being sent; further ones are lost. None
            for unlimited.
    """

    latency: Distribution = _ONE_MS
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_extra: Distribution = _REORDER_EXTRA
    corrupt: float = 0.0
    bandwidth_bytes_per_s: int | None = None
    queue_length: int | None = None


class Link:
    """The connection from one vertex to another, in one direction.

    Attributes:
        source, target: the ends.
        cuts: the firings of faults that currently cut it. It loses all messages while there are any.
        clogs: the firings of faults that currently clog it. It delivers nothing while there are any.
        clogged: the messages that wait at its end until the clogs are over, in the order of their arrival.
        faults_by_setting: for the ledger, the fault that set each attribute of `quality` (`bandwidth` for short). A
            setting that no fault changed is not listed.
        is_unimpaired: whether the link only delays messages, by a latency that no fault has changed.
    """

    __slots__ = (
        "_delay_rng",
        "_impairment_rng",
        "_queue",
        "busy_until",
        "clogged",
        "clogs",
        "cuts",
        "extra",
        "faults_by_setting",
        "is_unimpaired",
        "last_due",
        "quality",
        "receive",
        "sample",
        "source",
        "target",
    )

    def __init__(self, source: int, target: int, receive: Receiver, streams: Streams) -> None:
        self.source = source
        self.target = target
        self.receive = receive
        self.cuts: list[Firing] = []
        self.clogs: list[Firing] = []
        self.clogged: list[tuple[object, str]] = []
        self._queue: deque[int] = deque()  # when the queued messages leave it
        self.faults_by_setting: dict[str, Fault] = {}
        self.last_due = 0
        self.busy_until = 0
        self._delay_rng = streams.get(f"link/{source}/{target}/latency")
        self._impairment_rng = streams.get(f"link/{source}/{target}/mishap")
        self.set_quality(LinkQuality())

    def set_quality(self, quality: LinkQuality) -> None:
        """Use this quality for all messages that are sent from now on."""
        self.quality = quality
        self._update_is_unimpaired()
        self.sample: Sampler = quality.latency.sampler(self._delay_rng)
        self.extra: Sampler = quality.reorder_extra.sampler(self._impairment_rng)

    def _update_is_unimpaired(self) -> None:
        quality = self.quality
        self.is_unimpaired = "latency" not in self.faults_by_setting and not (
            quality.loss
            or quality.duplicate
            or quality.reorder
            or quality.corrupt
            or quality.bandwidth_bytes_per_s
        )

    def set_faults(self, faults_by_setting: dict[str, Fault]) -> None:
        """Replace the faults that are responsible for settings."""
        self.faults_by_setting = faults_by_setting
        self._update_is_unimpaired()

    @property
    def is_open(self) -> bool:
        """Whether messages can arrive: nothing cuts or clogs the link."""
        return not (self.cuts or self.clogs)

    def queue(self, size: int, now: int) -> int | None:
        """Queue a message of this many bytes for the bandwidth.

        Returns:
            When the last byte leaves, or None if the queue is full.
        """
        quality, queue = self.quality, self._queue
        assert quality.bandwidth_bytes_per_s, "only a limited bandwidth has a queue"
        while queue and queue[0] <= now:
            queue.popleft()
        if quality.queue_length is not None and len(queue) >= quality.queue_length:
            return None
        busy = size * 1_000_000 // quality.bandwidth_bytes_per_s
        self.busy_until = max(now, self.busy_until) + busy
        queue.append(self.busy_until)
        return self.busy_until

    def corrupt(self, payload: object) -> CorruptFrame:
        """The message as it arrives after this link has corrupted it."""
        between_nodes = self.source > 0 and self.target > 0
        return corrupt(payload, self._impairment_rng, between_nodes=between_nodes)

    def impairs(self, probability: float) -> bool:
        """Draw whether an impairment of this probability hits a message."""
        return self._impairment_rng.random() < probability


class Delivery(SimEvent):
    """A message in transit: the event of its arrival.

    Attributes:
        network, link: where it is.
        payload, message_id: the message.
    """

    def __init__(self, network: Network, link: Link, payload: object, message_id: str) -> None:
        self.due_us = 0
        self.order = 0
        self.network = network
        self.link = link
        self.payload = payload
        self.message_id = message_id

    def fire(self) -> None:
        """Arrive."""
        self.network.arrive(self)


class Network:
    """All links, and the messages on them.

    Args:
        engine: the simulated clock.
        streams: gives each link its random streams.
        on_drop: called for each lost message.

    Attributes:
        on_close: called when a receiver closes a connection, because a corrupted message came.
        graph: `networkx.DiGraph`; `graph.edges[a, b]["link"]` is the `Link` from a to b.
        has_receiver: whether a message on a link would make a difference at its end. If not, no fault of the link
            has acted.
        intercept: sees each message that enters a link, while an action of the timeline waits for messages.
        sent, delivered, dropped, duplicated: counts of messages.
    """

    def __init__(self, engine: Engine, streams: Streams, on_drop: DropListener) -> None:
        from networkx import DiGraph  # late: it takes a tenth of the time to import the simulator

        self.graph: networkx.DiGraph[int] = DiGraph()
        self._engine = engine
        self._streams = streams
        self._on_drop = on_drop
        self.on_close: CloseListener = lambda _link, _payload: None
        self.has_receiver: HasReceiver = lambda _link: True
        self.intercept: Interceptor | None = None
        self.sent = self.delivered = self.dropped = self.duplicated = 0

    def connect(self, source: int, target: int, receive: Receiver, quality: LinkQuality) -> Link:
        """Create the link from `source` to `target`. `receive` gets the messages that arrive."""
        link = Link(source, target, receive, self._streams)
        link.set_quality(quality)
        self.graph.add_edge(source, target, link=link)
        return link

    def link(self, source: int, target: int) -> Link:
        """The link from `source` to `target`.

        Raises:
            KeyError: there is none.
        """
        link: Link = self.graph.edges[source, target]["link"]
        return link

    def links(self) -> list[Link]:
        """All links, sorted by their ends."""
        return [self.link(a, b) for a, b in sorted(self.graph.edges)]

    def links_from(self, source: int) -> dict[int, Link]:
        """The links that leave a vertex, by target."""
        return {target: self.link(source, target) for target in self.graph.successors(source)}

    def cut(self, pairs: Iterable[tuple[int, int]], firing: Firing) -> list[tuple[int, int]]:
        """Cut these links, by this firing. Returns those that exist."""
        cut = [pair for pair in pairs if self.graph.has_edge(*pair)]
        for source, target in cut:
            cuts = self.link(source, target).cuts
            if firing not in cuts:
                cuts.append(firing)
        return cut

    def heal(self, pairs: Iterable[tuple[int, int]], firing: Firing) -> None:
        """End the cuts of this firing on these links. Another firing may still cut them."""
        for source, target in pairs:
            link = self.link(source, target)
            if firing in link.cuts:
                link.cuts.remove(firing)

    def clog(self, pairs: Iterable[tuple[int, int]], firing: Firing) -> list[tuple[int, int]]:
        """Clog these links, by this firing. Returns those that exist."""
        clogged = [pair for pair in pairs if self.graph.has_edge(*pair)]
        for source, target in clogged:
            clogs = self.link(source, target).clogs
            if firing not in clogs:
                clogs.append(firing)
        return clogged

    def unclog(self, pairs: Iterable[tuple[int, int]], firing: Firing) -> None:
        """End the clogs of this firing on these links. A link that nothing clogs any more delivers what waited."""
        for source, target in pairs:
            link = self.link(source, target)
            if firing in link.clogs:
                link.clogs.remove(firing)
            if not link.clogs:
                waiting, link.clogged = link.clogged, []
                for (
                    payload,
                    message_id,
                ) in waiting:  # urgent: before a message that arrives now by itself
                    self._deliver(link, payload, message_id, 0, URGENT)

    def send(self, link: Link, payload: object, message_id: str) -> None:
        """Send a message. It arrives later, or `on_drop` is called."""
        self.sent += 1
        delay = link.sample()
        if link.cuts:
            self._lose_to_cut(link, payload, message_id)
            return
        if not link.is_unimpaired and link.quality.loss and link.impairs(link.quality.loss):
            self._lose(link, payload, message_id, "lost", "loss")
            return
        # If a message would have no effect on arrival, a fault that takes it would have none either.
        if self.intercept is not None and self.has_receiver(link):
            interception = self.intercept(link, payload, message_id)
            if interception is not None:
                if interception == "dropped":
                    self.dropped += 1
                    self._on_drop(link, payload, message_id, "dropped by the timeline")
                return
        if not link.is_unimpaired:
            self._send_impaired(link, payload, message_id, delay)
            return
        now = self._engine.now
        due = now + delay
        if due < link.last_due:
            due = link.last_due
        else:
            link.last_due = due
        self._deliver(link, payload, message_id, due - now)

    def deliver_now(self, link: Link, payload: object, message_id: str) -> None:
        """Deliver a held message immediately. A cut link loses it."""
        self._deliver(link, payload, message_id, 0)

    def signal(self, link: Link, payload: object) -> None:
        """Send a signal that is not a message, such as a broken connection. A cut link loses it."""
        if link.cuts:
            self._count_firings(link, link.cuts)
        else:
            self._deliver(link, payload, "", link.sample())

    def _send_impaired(self, link: Link, payload: object, message_id: str, delay: int) -> None:
        """Send a message on an impaired link that did not lose it, and its duplicate, if any."""
        quality = link.quality
        now = self._engine.now
        due = now + delay
        self._count_fault(link, "latency")
        if quality.bandwidth_bytes_per_s:
            leaves = link.queue(size_bytes(payload), now)
            if leaves is None:
                self._lose(link, payload, message_id, "queue full", "queue_length")
                return
            due += leaves - now
            if leaves > now:
                self._count_fault(link, "bandwidth")
        if (
            quality.duplicate
            and type(payload) not in _SENT_ONCE
            and link.impairs(quality.duplicate)
        ):
            self.duplicated += 1
            self._count_fault(link, "duplicate")
            self._count_fault(link, "reorder_extra")
            self._deliver(link, payload, message_id, delay + link.extra())
        if quality.reorder and link.impairs(quality.reorder):
            self._count_fault(link, "reorder")
            self._count_fault(link, "reorder_extra")
            due += link.extra()  # `last_due` stays, so later messages may overtake this one
        else:
            due = link.last_due = max(link.last_due, due)
        if quality.corrupt and link.impairs(quality.corrupt):
            payload = link.corrupt(payload)
        self._deliver(link, payload, message_id, due - now)

    def _deliver(
        self, link: Link, payload: object, message_id: str, delay: int, priority: int = NORMAL
    ) -> None:
        self._engine.schedule(Delivery(self, link, payload, message_id), delay, priority)

    def arrive(self, delivery: Delivery) -> None:
        """A message has come to the end of its link."""
        link = delivery.link
        payload = delivery.payload
        if link.cuts:
            self._lose_to_cut(link, payload, delivery.message_id)
            return
        if link.clogs:
            self._count_firings(link, link.clogs)
            link.clogged.append((payload, delivery.message_id))
            return
        if type(payload) is _CORRUPT:
            frame, payload = payload, payload.payload
            if not frame.is_intact:
                self._lose(link, payload, delivery.message_id, "corrupt", "corrupt")
                if self.has_receiver(link):
                    self.on_close(link, payload)
                return
        self.delivered += 1
        link.receive(link.source, payload, delivery.message_id)

    def _lose(self, link: Link, payload: object, message_id: str, why: str, setting: str) -> None:
        """Lose a message, for the fault that is responsible for a setting."""
        self.dropped += 1
        self._count_fault(link, setting)
        self._on_drop(link, payload, message_id, why)

    def _lose_to_cut(self, link: Link, payload: object, message_id: str) -> None:
        self.dropped += 1
        self._count_firings(link, link.cuts)
        if type(payload) is _CORRUPT:
            payload = payload.payload
        self._on_drop(link, payload, message_id, "cut")

    def _count_firings(self, link: Link, firings: list[Firing]) -> None:
        """Count one message for the faults of these firings, if it makes a difference."""
        if self.has_receiver(link):
            for fault in dict.fromkeys(firing.fault for firing in firings):
                fault.acted += 1

    def _count_fault(self, link: Link, setting: str) -> None:
        """Count one message for the fault that is responsible for a setting, if it makes a difference."""
        fault = link.faults_by_setting.get(setting)
        if fault is not None and self.has_receiver(link):
            fault.acted += 1


def size_bytes(payload: object) -> int:
    """The approximate size of a message on the wire."""
    size = _MESSAGE_OVERHEAD_BYTES
    if isinstance(payload, AppendEntries):
        size += sum(map(Entry.size_bytes, payload.entries))
    elif isinstance(payload, Segment):
        return payload.size_bytes
    elif isinstance(payload, InstallSnapshot):
        size += len(payload.data)
    return size


register_copies(globals())
