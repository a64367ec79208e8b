"""`TcpEndpoint`: one end of a connection in the kernel of a simulated computer, as its process sees a socket.

Of the states of RFC 9293, those after the end of a stream are what `TcpSender.is_done` and `TcpReceiver.ended` say.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final, Literal, Protocol, TypeAlias

from qcore.sim.world.hosts.segments import Segment
from qcore.sim.world.hosts.tcp_receiver import TcpReceiver
from qcore.sim.world.hosts.tcp_sender import (
    DATA_RETRIES,
    FIRST_RTO_US,
    MAX_RTO_US,
    SYN_RETRIES,
    TcpSender,
)

EndpointState: TypeAlias = Literal["connecting", "accepting", "open", "waiting", "gone"]

#: An acknowledgement waits this long for data to travel with, microseconds; as in Linux.
_ACK_DELAY_US: Final = 40_000
#: How long the kernel remembers a connection that has ended on both sides, or whose other end does not end it.
_LINGER_US: Final = 60_000_000

#: The ports of the two ends, and the vertex of the other end, of a connection: (local port, vertex, remote port).
ConnectionKey: TypeAlias = tuple[int, int, int]


class Kernel(Protocol):
    """What an endpoint needs of the computer that it is on."""

    def now_us(self) -> int:
        """The simulated time."""
        ...

    def transmit(self, vertex: int, segment: Segment) -> None:
        """Send a segment to another computer."""

    def after(self, delay_us: int, action: Callable[[], None]) -> None:
        """Do something later, unless the computer has lost power by then."""

    def has_place(self, endpoint: TcpEndpoint) -> bool:
        """Whether an endpoint that a listener made may open: the listener has a place for it, or is gone."""
        ...

    def opened(self, endpoint: TcpEndpoint) -> None:
        """Note that such an endpoint is open."""

    def forget(self, endpoint: TcpEndpoint) -> None:
        """Forget an endpoint that is gone."""


class TcpEndpoint:
    """One end of a connection.

    Args:
        kernel: the computer.
        key: the connection.
        isn: the number of its SYN.

    Attributes:
        error: why the connection broke; None if it did not.
        on_readable, on_writable: called when the process may read, and when it may write again after `write` accepted
            less than everything. `on_readable` is also called for the end of the stream, and both for an error.
        on_opened: called when the connection is open, or cannot be opened.
    """

    def __init__(self, kernel: Kernel, key: ConnectionKey, isn: int) -> None:
        self._kernel = kernel
        self.key = key
        self.state: EndpointState = "connecting"
        self.error: OSError | None = None
        self.on_readable: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.on_opened: Callable[[], None] | None = None
        self.sender = TcpSender(isn, self._emit_data)
        self._receiver: TcpReceiver | None = None
        self._isn = isn
        self._syn_sent_us: int | None = None
        self._is_orphan = False
        self._wants_room = False
        self._ack_owed = 0
        self._ack_timer_runs = False
        self._timer_at: int | None = None

    # -- the process ----------------------------------------------------------------------------------

    def connect(self) -> None:
        """Begin to open the connection."""
        self._syn_sent_us = self._kernel.now_us()
        self._send_syn()

    def accept(self, syn: Segment) -> None:
        """Begin to open the connection that another computer asks for."""
        self.state = "accepting"
        self._receiver = TcpReceiver(syn.seq + 1)
        self._syn_sent_us = self._kernel.now_us()
        self._send_syn()

    @property
    def is_gone(self) -> bool:
        """Whether the kernel has forgotten it."""
        return self.state == "gone"

    @property
    def is_readable(self) -> bool:
        """Whether `read` would return something, or raise."""
        receiver = self._receiver
        return self.error is not None or (
            receiver is not None and (receiver.readable > 0 or receiver.ended)
        )

    @property
    def held_bytes(self) -> int:
        """The memory of everything that the process has not read."""
        return self._receiver.held_bytes if self._receiver is not None else 0

    def read(self, most: int) -> bytes | None:
        """The next bytes; empty at the end of the stream; None if there are none yet.

        Raises:
            OSError: the connection is broken, and everything that arrived before is read.
        """
        receiver = self._receiver
        if receiver is not None and receiver.readable:
            data, has_room = receiver.read(most)
            if has_room and self.state == "open" and not receiver.ended:
                self._send_ack()
            return data
        if receiver is not None and receiver.ended:
            return b""
        if self.error is not None:
            raise self.error
        return None

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Send bytes. Returns how many the kernel has accepted.

        Raises:
            OSError: the connection is broken.
        """
        if self.error is not None:
            raise self.error
        if self.state != "open" or self._is_orphan:
            raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
        accepted = self.sender.write(data)
        self._wants_room = accepted < len(data)
        self._send()
        return accepted

    def end(self) -> None:
        """End the stream to the other end after what was written.

        Raises:
            OSError: the connection is broken.
        """
        if self.error is not None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        if self.state == "open":
            self.sender.end()
            self._send()

    def close(self) -> None:
        """Close the socket, as the process or its end does.

        What was written is still sent. If the process has not read everything, the other end gets a reset.
        """
        self.on_readable = self.on_writable = self.on_opened = None
        self._is_orphan = True
        if self.state == "connecting":
            self._vanish()
        elif self.state == "accepting" or (
            self.state == "open" and self._receiver is not None and self._receiver.readable
        ):
            self.reset()
        elif self.state == "open":
            self.sender.end()
            self._send()
            self._end_if_done()
            if self.state == "open":
                self._kernel.after(_LINGER_US, self._linger_ends)

    def reset(self) -> None:
        """Break the connection, and let the other end know."""
        self._transmit(self.sender.next, rst=True)
        self._vanish()

    # -- segments -------------------------------------------------------------------------------------

    def receive(self, segment: Segment) -> None:
        """Handle a segment of the other end."""
        if self.state == "connecting":
            self._receive_first(segment)
            return
        receiver = self._receiver
        assert receiver is not None, "only a connection that is not open yet has none"
        if segment.rst:
            if receiver.accepts(segment.seq):
                # As in Linux: after the end of the other end's stream, only a write can fail.
                number = errno.EPIPE if receiver.ended else errno.ECONNRESET
                self._broke(OSError(number, os.strerror(number)))
        elif segment.syn:
            if (
                self.state != "accepting"
            ):  # else ours is repeated, if the other end has not received it
                self._send_ack()  # it is an old copy; or the other end has forgotten the connection, and resets it
        elif segment.ack is not None:
            self._receive_usual(segment, segment.ack, receiver)

    def _receive_first(self, segment: Segment) -> None:
        """Handle what answers our SYN."""
        if segment.ack is not None and segment.ack != self._isn + 1:
            if (
                not segment.rst
            ):  # it belongs to an earlier connection, which the other end still has
                self._kernel.transmit(self.key[1], reset_for(segment))
        elif segment.rst:
            if segment.ack is not None:
                self._broke(OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)))
        elif segment.syn and segment.ack is not None:
            self._receiver = TcpReceiver(segment.seq + 1)
            self._is_open(segment)
            self._send_ack()

    def _is_open(self, segment: Segment) -> None:
        now_us = self._kernel.now_us()
        sent_us = self._syn_sent_us if not self.sender.retries else None
        self.state = "open"
        self.sender.opened(segment.window, now_us, sent_us)
        if self.on_opened is not None:
            self.on_opened()

    def _receive_usual(self, segment: Segment, ack: int, receiver: TcpReceiver) -> None:
        sender = self.sender
        if self.state == "accepting":
            if ack != self._isn + 1:
                self._kernel.transmit(self.key[1], reset_for(segment))
                return
            if not self._kernel.has_place(self):
                return  # as if this segment was lost: the SYN is repeated, and answered again
            self._is_open(segment)
            self._kernel.opened(self)
            if self.is_gone:
                return
        now_us = self._kernel.now_us()
        if self._is_orphan and segment.data and segment.seq + len(segment.data) > receiver.next:
            self.reset()  # no process reads this
            return
        was_new = sender.acknowledge(
            ack, segment.window, has_data=bool(segment.data) or segment.fin, now_us=now_us
        )
        if segment.data or segment.fin:
            self._take(segment, receiver)
        elif segment.seq == receiver.next - 1:
            self._ack_owed += 2  # a question for the window
        if self.state == "open":
            self._send()
            if was_new:
                self._end_if_done()
                self._report_room()
        if self._ack_owed:
            self._acknowledge_soon()

    def _take(self, segment: Segment, receiver: TcpReceiver) -> None:
        in_order = receiver.take(segment.seq, segment.data, ends=segment.fin)
        if not in_order or receiver.has_gap or segment.fin:
            self._ack_owed += 2  # the other end must learn of a gap or a copy soon
        else:
            self._ack_owed += 1
        if in_order:
            if receiver.ended:
                self._end_if_done()
            if self.on_readable is not None:
                self.on_readable()

    def _report_room(self) -> None:
        if self._wants_room and self.sender.is_writable:
            self._wants_room = False
            if self.on_writable is not None:
                self.on_writable()

    # -- sending --------------------------------------------------------------------------------------

    def _send(self) -> None:
        self.sender.send(self._kernel.now_us())
        self._expect_timer()

    def _emit_data(self, seq: int, data: bytes, ends: bool) -> None:
        self._transmit(seq, data, fin=ends)

    def _send_syn(self) -> None:
        self._transmit(self._isn, syn=True)
        self.sender.due_us = self._kernel.now_us() + min(
            FIRST_RTO_US << self.sender.retries, MAX_RTO_US
        )
        self._expect_timer()

    def _send_ack(self) -> None:
        self._transmit(self.sender.next)

    def _transmit(
        self,
        seq: int,
        data: bytes = b"",
        *,
        syn: bool = False,
        fin: bool = False,
        rst: bool = False,
    ) -> None:
        receiver = self._receiver
        ack, window = (None, 0) if receiver is None else (receiver.next, receiver.window())
        self._ack_owed = 0
        source_port, vertex, target_port = self.key
        self._kernel.transmit(
            vertex, Segment(source_port, target_port, seq, ack, window, data, syn, fin, rst)
        )

    def _acknowledge_soon(self) -> None:
        """Acknowledge every second segment immediately, and a single one when no data took its acknowledgement."""
        if self._ack_owed >= 2:
            self._send_ack()
        elif not self._ack_timer_runs:
            self._ack_timer_runs = True
            self._kernel.after(_ACK_DELAY_US, self._ack_is_due)

    def _ack_is_due(self) -> None:
        self._ack_timer_runs = False
        if self._ack_owed and self.state in ("open", "waiting"):
            self._send_ack()

    # -- time -----------------------------------------------------------------------------------------

    def _expect_timer(self) -> None:
        """One timer serves all repetitions. It runs until its time even if there is nothing to repeat any more."""
        due_us = self.sender.due_us
        if due_us is not None and (self._timer_at is None or due_us < self._timer_at):
            self._timer_at = due_us
            delay_us = max(0, due_us - self._kernel.now_us())
            self._kernel.after(delay_us, lambda: self._timer_ends(due_us))

    def _timer_ends(self, at_us: int) -> None:
        if at_us != self._timer_at:
            return  # an earlier one took its place
        self._timer_at = None
        due_us = self.sender.due_us
        if due_us is None or self.state in ("gone", "waiting"):
            return
        if due_us <= at_us:
            self._is_overdue()
        self._expect_timer()

    def _is_overdue(self) -> None:
        is_opening = self.state != "open"
        if self.sender.retries >= (SYN_RETRIES if is_opening else DATA_RETRIES):
            self._broke(OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
        elif is_opening:
            self.sender.retries += 1
            self._send_syn()
        elif self.sender.overdue(self._kernel.now_us()):
            self._transmit(self.sender.una - 1)  # an old number, which the other end must answer

    # -- the end --------------------------------------------------------------------------------------

    def _end_if_done(self) -> None:
        """Wait for late copies once both streams have ended, or forget the connection."""
        receiver = self._receiver
        if not (self.sender.is_done and receiver is not None and receiver.ended):
            return
        self.state = "waiting"
        self.sender.due_us = None
        self._kernel.after(_LINGER_US, self._linger_ends)

    def _linger_ends(self) -> None:
        if self._is_orphan or self.state == "waiting":
            self._vanish()

    def _broke(self, error: OSError) -> None:
        self.error = error
        opened, readable, writable = self.on_opened, self.on_readable, self.on_writable
        self._vanish()
        for report in (opened, readable, writable):
            if report is not None:
                report()

    def _vanish(self) -> None:
        if self.state != "gone":
            self.state = "gone"
            self.sender.due_us = None
            self._kernel.forget(self)


def reset_for(segment: Segment) -> Segment:
    """The answer to a segment that belongs to no connection."""
    end = segment.seq + len(segment.data) + segment.syn + segment.fin
    return Segment(
        segment.target_port, segment.source_port, segment.ack or 0, end, 0, b"", rst=True
    )
