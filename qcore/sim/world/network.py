"""The simulated network: a `networkx` graph of directed links between nodes and clients.

Vertices are integers: nodes are positive, client k is -k. Each edge carries a `Link`.

A link keeps the order of its messages, as a TCP connection does, unless it is set to reorder. A reordered message takes
an extra delay and may be overtaken. A cut link loses the messages that are sent into it and those in transit.
Each link draws its latencies from one random stream and its impairments from another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import networkx
from simpy.events import NORMAL, Event

from qcore.core.entry import Entry
from qcore.core.messages import AppendEntries, InstallSnapshot
from qcore.replica.messages import Forward, ForwardResponse
from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.scenario.distributions import Distribution, Sampler, fixed, uniform
from qcore.sim.world.engine import Call, Engine
from qcore.sim.world.random_streams import Streams

#: Receives (source, payload, message id) at the end of a link.
Receiver = Callable[[int, object, str], None]
#: May take a message from its link. Returns what it does with the message, `held` or `dropped`, or None.
Interceptor = Callable[["Link", object, str], str | None]
#: Whether a message on this link would make a difference at its end.
HasReceiver = Callable[["Link"], bool]
#: Called for each lost message: (link, payload, message id, why).
DropListener = Callable[["Link", object, str, str], None]

_MESSAGE_OVERHEAD_BYTES = 160
#: Never duplicated: forwarded requests go over one connection, which does not send them twice.
_SENT_ONCE = (Forward, ForwardResponse)
_ONE_MS = fixed(1)
_REORDER_EXTRA = uniform(0, 20)


@dataclass(slots=True, frozen=True)
class LinkQuality:
    """How a link treats its messages. Probabilities are per message.

    Attributes:
        latency: one-way delay.
        loss: probability that a message vanishes.
        duplicate: probability that it arrives twice, the copy after a separate delay.
        reorder: probability that it takes `reorder_extra` more time, and may be overtaken.
        bandwidth_bytes_per_s: capacity, for which messages queue; None for unlimited.
    """

    latency: Distribution = _ONE_MS
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_extra: Distribution = _REORDER_EXTRA
    bandwidth_bytes_per_s: int | None = None


class Link:
    """The connection from one vertex to another, in one direction.

    Attributes:
        source, target: the ends.
        cuts: the firings of faults that currently cut it. It carries messages while this is empty.
        faults_by_setting: for the ledger, the fault that set each attribute of `quality` (`bandwidth` for short). A
            setting that no fault changed is not listed.
        is_unimpaired: whether the link only delays messages, by a latency that no fault has changed.
    """

    __slots__ = (
        "_delay_rng",
        "_impairment_rng",
        "busy_until",
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
            quality.loss or quality.duplicate or quality.reorder or quality.bandwidth_bytes_per_s
        )

    def set_faults(self, faults_by_setting: dict[str, Fault]) -> None:
        """Replace the faults that are responsible for settings."""
        self.faults_by_setting = faults_by_setting
        self._update_is_unimpaired()

    def impairs(self, probability: float) -> bool:
        """Draw whether an impairment of this probability hits a message."""
        return self._impairment_rng.random() < probability


class Delivery(Call):
    """A message in transit: the SimPy event of its arrival."""

    __slots__ = ("link", "message_id", "payload")

    def __init__(
        self,
        callbacks: list[Callable[[Event], None]],
        link: Link,
        payload: object,
        message_id: str,
    ) -> None:
        self.callbacks = callbacks
        self.link = link
        self.payload = payload
        self.message_id = message_id


class Network:
    """All links, and the messages on them.

    Args:
        engine: the simulated clock.
        streams: gives each link its random streams.
        on_drop: called for each lost message.

    Attributes:
        graph: `networkx.DiGraph`; `graph.edges[a, b]["link"]` is the `Link` from a to b.
        has_receiver: whether a message on a link would make a difference at its end. If not, no fault of the link
            has acted.
        intercept: sees each message that enters a link, while an action of the timeline waits for messages.
        sent, delivered, dropped, duplicated: counts of messages.
    """

    def __init__(self, engine: Engine, streams: Streams, on_drop: DropListener) -> None:
        self.graph: networkx.DiGraph[int] = networkx.DiGraph()
        self._env = engine.env
        self._streams = streams
        self._on_drop = on_drop
        self.has_receiver: HasReceiver = lambda _link: True
        self._on_arrival: list[Callable[[Event], None]] = [self._arrive]
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

    def heal(
        self, firing: Firing | None = None, touching: frozenset[int] | None = None
    ) -> list[tuple[int, int]]:
        """End cuts: of one firing or of all, on all links or on those that touch these vertices.

        Returns:
            The links that had such a cut. Another firing may still cut them.
        """
        healed = []
        for link in self.links():
            if touching is not None and not {link.source, link.target} & touching:
                continue
            kept = [cut for cut in link.cuts if firing is not None and cut is not firing]
            if len(kept) != len(link.cuts):
                link.cuts = kept
                healed.append((link.source, link.target))
        return healed

    def send(self, link: Link, payload: object, message_id: str) -> None:
        """Send a message. It arrives later, or `on_drop` is called."""
        self.sent += 1
        delay = link.sample()
        if link.cuts:
            self._lose_to_cut(link, payload, message_id)
            return
        if not link.is_unimpaired and link.quality.loss and link.impairs(link.quality.loss):
            self.dropped += 1
            self._count_fault(link, "loss")
            self._on_drop(link, payload, message_id, "lost")
            return
        # If a message would have no effect on arrival, a fault that takes it would have none either.
        if self.intercept is not None and self.has_receiver(link):
            interception = self.intercept(link, payload, message_id)
            if interception is not None:
                if interception == "dropped":
                    self.dropped += 1
                    self._on_drop(link, payload, message_id, "dropped by the timeline")
                return
        now = self._env.now
        due = now + delay
        if not link.is_unimpaired:
            due = self._impaired_arrival(link, payload, message_id, now, delay)
        elif due < link.last_due:
            due = link.last_due
        else:
            link.last_due = due
        self._env.schedule(Delivery(self._on_arrival, link, payload, message_id), NORMAL, due - now)

    def deliver_now(self, link: Link, payload: object, message_id: str) -> None:
        """Deliver a held message immediately. A cut link loses it."""
        self._env.schedule(Delivery(self._on_arrival, link, payload, message_id), NORMAL, 0)

    def signal(self, link: Link, payload: object) -> None:
        """Send a signal that is not a message, such as a broken connection. A cut link loses it."""
        if link.cuts:
            self._count_cuts(link)
        else:
            self._env.schedule(Delivery(self._on_arrival, link, payload, ""), NORMAL, link.sample())

    def _impaired_arrival(
        self, link: Link, payload: object, message_id: str, now: int, delay: int
    ) -> int:
        """When the message arrives, on an impaired link that did not lose it. Also sends the duplicate, if any."""
        quality = link.quality
        due = now + delay
        self._count_fault(link, "latency")
        if quality.bandwidth_bytes_per_s:
            busy = size_bytes(payload) * 1_000_000 // quality.bandwidth_bytes_per_s
            start = max(now, link.busy_until)
            link.busy_until = start + busy
            due += link.busy_until - now
            if link.busy_until > now:
                self._count_fault(link, "bandwidth")
        if (
            quality.duplicate
            and type(payload) not in _SENT_ONCE
            and link.impairs(quality.duplicate)
        ):
            self.duplicated += 1
            self._count_fault(link, "duplicate")
            self._count_fault(link, "reorder_extra")
            copy = Delivery(self._on_arrival, link, payload, message_id)
            self._env.schedule(copy, NORMAL, delay + link.extra())
        if quality.reorder and link.impairs(quality.reorder):
            self._count_fault(link, "reorder")
            self._count_fault(link, "reorder_extra")
            return due + link.extra()  # `last_due` stays, so later messages may overtake this one
        link.last_due = max(link.last_due, due)
        return link.last_due

    def _arrive(self, event: Event) -> None:
        assert isinstance(event, Delivery)
        link = event.link
        if link.cuts:
            self._lose_to_cut(link, event.payload, event.message_id)
            return
        self.delivered += 1
        link.receive(link.source, event.payload, event.message_id)

    def _lose_to_cut(self, link: Link, payload: object, message_id: str) -> None:
        self.dropped += 1
        self._count_cuts(link)
        self._on_drop(link, payload, message_id, "cut")

    def _count_cuts(self, link: Link) -> None:
        if self.has_receiver(link):
            for fault in dict.fromkeys(firing.fault for firing in link.cuts):
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
    elif isinstance(payload, InstallSnapshot):
        size += len(payload.data)
    return size
