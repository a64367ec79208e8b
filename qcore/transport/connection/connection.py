"""`Connection`: one end of a WebSocket connection on an asyncio transport. Every wait and every queue is bounded.

The WebSocket protocol itself is the sans-I/O layer of the library `websockets`. This module drives it from an
`asyncio.Protocol`, which costs a fraction of the library's coroutine API per message.
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, SEND_EOF, Event
from websockets.protocol import Protocol as WebSocketProtocol

from qcore.errors import TransportError
from qcore.transport.address import Address
from qcore.transport.connection.framing import (
    allocated,
    batch_envelopes,
    check_size,
    clip_reason,
    memory_of,
)
from qcore.transport.connection.held_sends import HeldSends
from qcore.transport.limits import TransportLimits

logger = logging.getLogger("qcore.transport")

#: The library logs a line for each connection, and a traceback for each error of the other end. This logger drops both:
#: the owner of a connection logs what matters.
library_logger = logging.getLogger("qcore.transport.websockets")
library_logger.setLevel(logging.CRITICAL)

#: A larger queue does not wait for the end of the turn, bytes.
FLUSH_BYTES = 256 * 1024

#: The memory of a queued envelope besides its text, at most, bytes.
_ENVELOPE_BYTES = 64

#: A message sent this soon after the previous one waits for the end of the turn, together with those that follow.
SAME_BURST_S = 50e-6


class Connection(asyncio.Protocol):
    """Base class of both ends of a connection. A subclass does the opening handshake and handles frames.

    Subclasses implement `_handshake_received`, `_frame_received` and `_closed`, and call `_opened`.

    Attributes:
        remote: `host:port` of the other end, once connected.
        local: `host:port` of this end, once connected.
        batches: whether the other end understands array frames. If so, the envelopes of one turn of the event loop
            share a frame.
        unanswered: the number of a client's requests without a response; a server counts them.
    """

    def __init__(self, ws: WebSocketProtocol, limits: TransportLimits) -> None:
        self.remote = "?"
        self.batches = False
        self.unanswered = 0
        self._ws = ws
        self._limits = limits
        self._held = HeldSends()  # a node's connections share the node's
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._open = False
        self._error: TransportError | None = None
        self._closed_here = False
        self._queue: list[bytes] = []
        self._queue_bytes = 0
        self._flush_expected = False
        self._last_flush = -1.0
        self._write_paused = self._read_paused = False
        self._takes_turns = self._waits = False
        self._reading = True
        self._unsent_bytes = 0
        self._stalled_since = 0.0
        self._last_received = 0.0
        self._pinged_at = -1.0
        self._backlog: list[Event] = []
        self._backlog_bytes = 0
        self._reported_bytes = 0
        self._fragments: bytearray | None = None
        self._fragments_are_text = True
        self._timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._eof_due = False

    # --- for the owner ----------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent and received."""
        return self._open

    @property
    def last_received(self) -> float:
        """When the last bytes arrived or, if none did, when the connection was opened; by the event loop's clock."""
        return self._last_received

    def send_encoded(self, envelope: bytes) -> None:
        """Send an envelope (JSON), now or together with others at the end of this turn of the event loop.

        Does nothing on a closed connection.

        Raises:
            qcore.errors.LocalProtocolError: the envelope is larger than a frame may be.
        """
        if self.unanswered:  # a server sends only responses to a client
            self.unanswered -= 1
        check_size(envelope, self._limits.max_frame_bytes)
        if not self._open:
            return
        self._queue.append(envelope)
        self._queue_bytes += len(envelope)
        if self._queue_bytes > FLUSH_BYTES:
            self._flush()
            if self.unsent_bytes() > self._limits.max_queue_bytes:
                self.abort(
                    f"{self.remote} does not read: more than {self._limits.max_queue_bytes} bytes "
                    "wait for it"
                )
            else:
                self.report_held_bytes()
        elif self._write_paused:
            self.report_held_bytes()
        elif not self._flush_expected and self._held.active:
            self._flush_expected = True
            self._held.waiting.append(self._flush)
        elif not self._flush_expected:
            now = self._loop.time()
            if now - self._last_flush > SAME_BURST_S:
                # The first message of a possible burst does not wait for the rest. So a single message is sent
                # immediately, and a burst costs one more frame.
                self._last_flush = now
                self._flush()
            else:
                self._flush_expected = True
                self._loop.call_soon(self._flush)

    @property
    def limits(self) -> TransportLimits:
        """The limits given to the constructor."""
        return self._limits

    def unsent_bytes(self) -> int:
        """The bytes that the owner has sent and the operating system has not accepted yet."""
        if self._transport is None:
            return 0
        return self._queue_bytes + self._transport.get_write_buffer_size()

    def held_bytes(self) -> int:
        """The allocated memory of bytes sent but not accepted by the system, and of data received but not handled."""
        return (
            self.unsent_bytes()
            + _ENVELOPE_BYTES * len(self._queue)
            + allocated(self._ws.reader.buffer)
            + allocated(self._fragments)
            + self._backlog_bytes
        )

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send all queued messages, then close. The reason is clipped to the size of a close frame.

        A second call does nothing. If the other end does not answer in time, the connection is dropped.
        """
        if not self._can_send():
            return
        self._closed_here = True
        self._write_frames()
        self._ws.send_close(code, clip_reason(reason))
        self._after_protocol_step()

    def abort(self, reason: str) -> None:
        """Drop the connection immediately, without a closing handshake."""
        if self._error is None:
            self._error = TransportError(reason)
        self._open = False
        self._discard_queue()
        self._ws.reader.discard()
        if self._transport is not None:
            self._transport.abort()

    # --- for subclasses ---------------------------------------------------------------------------

    def _handshake_received(self, data: bytes) -> None:
        """Handle bytes that arrived before the connection was open."""
        raise NotImplementedError

    def _frame_received(self, data: bytes | bytearray, is_text: bool) -> None:
        """Handle a complete data frame, assembled from its fragments."""
        raise NotImplementedError

    def _closed(self, error: TransportError | None) -> None:
        """Handle the end of the connection; `error` is None after an orderly close. Called exactly once."""
        raise NotImplementedError

    def _opened(self) -> None:
        """Note that the opening handshake is complete."""
        self._open = True
        self._last_received = self._loop.time()
        self._arm_timer()

    def report_held_bytes(self) -> None:
        """Called when `held_bytes` may have changed."""

    def _must_wait(self, frame: Frame) -> bool:
        """Whether this frame and all later ones must wait. Called if `_takes_turns`; the subclass resumes delivery."""
        return False

    def _pauses_reading(self) -> bool:
        """Whether to stop handling frames while the other end does not read."""
        return False

    # --- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not an assertion: uvloop's transports do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        address = transport.get_extra_info("peername")
        if isinstance(address, tuple) and len(address) >= 2:
            self.remote = str(Address(str(address[0]), int(address[1])))

    def data_received(self, data: bytes) -> None:
        self._last_received = self._loop.time()
        if self._open:
            self._receive(data)
        elif self._ws.state >= OPEN or self._error is not None:
            # Closing: the library waits for the close frame or the end of the stream, and ignores other frames.
            if self._error is None:
                self._ws.receive_data(data)
                self._ws.events_received()
                self._after_protocol_step()
                self.report_held_bytes()
        else:
            self._handshake_received(data)

    def eof_received(self) -> None:
        self._ws.receive_eof()
        self._after_protocol_step()
        self._open = False
        # asyncio now closes the transport, after it has written everything that waits.
        self._expect_end()

    def pause_writing(self) -> None:
        self._write_paused = True
        self._stalled_since = self._loop.time()
        if self._transport is not None:
            self._unsent_bytes = self._transport.get_write_buffer_size()
            if self._open and self._pauses_reading() and not self._transport.is_closing():
                self._read_paused = True
                self._pause_or_resume_reading()
            self.report_held_bytes()

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._transport is None or self._transport.is_closing():
            return
        if self._eof_due:
            self._loop.call_soon(
                self._half_close
            )  # later: the transport is in the middle of a write
        self._read_paused = False
        self._pause_or_resume_reading()
        self._flush()
        if self._backlog:
            self._deliver_frames()
        self.report_held_bytes()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False
        self._transport = None
        self._discard_queue()
        for timer in (self._timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        # The library's objects form a reference cycle and are freed late, so release the buffer now.
        self._ws.reader.discard()
        self._closed(self._reason_of_end(exc))
        # The traceback refers to the protocol. Break this cycle, so both are freed now.
        self._ws.parser_exc = None

    # --- receiving --------------------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        """Handle bytes that arrived on the open connection."""
        ws = self._ws
        ws.receive_data(data)
        self._deliver_frames()
        if ws.reader.buffer or self._reported_bytes or self._backlog or self._fragments is not None:
            self.report_held_bytes()

    def _pause_or_resume_reading(self) -> None:
        """Read from the socket unless the other end does not read or must wait for its turn."""
        reads = not (self._read_paused or self._waits)
        if reads == self._reading or self._transport is None or self._transport.is_closing():
            return
        self._reading = reads
        if reads:
            self._last_received = self._loop.time()
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _deliver_frames(self) -> None:
        """Deliver the frames that the protocol has parsed.

        Then write the protocol's answers (pong, close) and all messages sent meanwhile, together.
        """
        self._flush_expected = True
        events = self._ws.events_received()
        if self._backlog:
            events, self._backlog = self._backlog + events, []
            self._backlog_bytes = 0
        for number, event in enumerate(events):
            if not self._open:
                break
            if isinstance(event, Frame):
                if (
                    self._read_paused
                    or self._waits
                    or (self._takes_turns and self._must_wait(event))
                ):
                    self._backlog = events[number:]
                    self._backlog_bytes = sum(map(memory_of, self._backlog))
                    break
                self._deliver(event)
        self._flush_expected = False
        if self._ws.state is not OPEN:
            self._after_protocol_step()
            return
        if self._queue and self._open and not self._write_paused:
            self._write_frames()
        output = self._ws.data_to_send()
        if output:
            self._write(output)

    def _deliver(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if frame.fin:
                # Only compressed frames that are sent hold a memoryview.
                data = (
                    frame.data if isinstance(frame.data, bytes | bytearray) else bytes(frame.data)
                )
                self._frame_received(data, opcode is Opcode.TEXT)
            else:
                self._fragments = bytearray(frame.data)
                self._fragments_are_text = opcode is Opcode.TEXT
        elif opcode is Opcode.CONT and self._fragments is not None:
            # The library has checked the order of the fragments and their total size.
            self._fragments += frame.data
            if frame.fin:
                whole, self._fragments = self._fragments, None
                self._frame_received(whole, self._fragments_are_text)

    # --- sending ----------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._flush_expected = False
        if self._queue and not self._write_paused and self._can_send():
            self._write_frames()
            self._write(self._ws.data_to_send())

    def _can_send(self) -> bool:
        """Whether the protocol accepts another frame.

        Sometimes it does not, although the connection is still open for its owner: while frames are delivered that
        arrived together with the other end's close frame.
        """
        return self._open and self._ws.state is OPEN and self._transport is not None

    def _write_frames(self) -> None:
        """Turn the queued envelopes into frames."""
        queue, self._queue = self._queue, []
        self._queue_bytes = 0
        if not self.batches or len(queue) == 1:
            for envelope in queue:
                self._ws.send_text(envelope)
            return
        for text in batch_envelopes(queue):
            self._ws.send_text(text)

    def _write(self, chunks: list[bytes]) -> None:
        """Write the protocol's output to the transport; `SEND_EOF` half-closes."""
        transport = self._transport
        if transport is None or transport.is_closing() or not chunks:
            return
        if len(chunks) == 1 and chunks[0] != SEND_EOF:
            transport.write(chunks[0])
            return
        data = b"".join(chunks)
        if data:
            transport.write(data)
        if chunks[-1] == SEND_EOF and not transport.can_write_eof():
            transport.close()  # TLS has no half-closed connections; it writes the rest first
        elif chunks[-1] == SEND_EOF:
            if not transport.get_write_buffer_size():
                self._half_close()
            else:
                # Do not call `write_eof` yet: its error would be an exception in the event loop that no caller sees.
                self._eof_due = True
                # `resume_writing` is then called once everything is written.
                transport.set_write_buffer_limits(high=0)

    def _half_close(self) -> None:
        """End the sending direction. The system must have accepted everything that was written."""
        self._eof_due = False
        if self._transport is None or self._transport.is_closing():
            return
        try:
            self._transport.write_eof()
        except OSError:  # the other end is gone: it answered the last bytes with a reset
            self._transport.abort()

    def _discard_queue(self) -> None:
        self._queue.clear()
        self._queue_bytes = self._backlog_bytes = 0
        self._fragments = None
        self._backlog.clear()

    # --- the end ----------------------------------------------------------------------------------

    def _after_protocol_step(self) -> None:
        """Write the protocol's output, and prepare for the end if the protocol is closing."""
        if self._ws.state is not OPEN:
            # Before writing, so the connection ends in time even if the write fails. Only reading shows the end, so
            # reading must not be paused.
            self._open = False
            self._discard_queue()
            self._read_paused = self._waits = False
            self._expect_end()
            self._pause_or_resume_reading()
        self._write(self._ws.data_to_send())

    def _expect_end(self) -> None:
        """Drop the connection if the other end does not end it soon."""
        if self._close_timer is None and self._transport is not None:
            self._close_timer = self._loop.call_later(
                self._limits.close_timeout_s, self._end_overdue
            )

    def _end_overdue(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _reason_of_end(self, exc: Exception | None) -> TransportError | None:
        if self._error is not None:
            return self._error
        if self._ws.parser_exc is not None and not isinstance(self._ws.parser_exc, EOFError):
            return TransportError(f"{self.remote} broke the protocol: {self._ws.parser_exc}")
        received = self._ws.close_rcvd
        if received is not None and received.code not in (1000, 1001, 1005):
            text = f"{int(received.code)} {received.reason}".rstrip()
            return TransportError(f"closed by {self.remote}: {text}")
        if received is not None or self._closed_here:
            return None
        return TransportError(f"connection to {self.remote} lost: {exc or 'end of stream'}")

    @property
    def close_received(self) -> tuple[int, str] | None:
        """Code and reason of the other end's close frame, if there was one."""
        received = self._ws.close_rcvd
        return None if received is None else (int(received.code), received.reason)

    # --- time -------------------------------------------------------------------------------------

    def _arm_timer(self) -> None:
        limits = self._limits
        pause = min(limits.ping_interval_s, limits.dead_after_s, limits.send_stall_s) / 2
        self._timer = self._loop.call_later(pause, self._check_life)

    def _check_life(self) -> None:
        """Ping after silence; drop the connection if the other end is dead or does not read."""
        if not self._open or self._transport is None:
            return
        limits = self._limits
        now = self._loop.time()
        if not self._reading:
            self._last_received = now  # signs of life may wait unread
        if self._write_paused:
            unsent = self._transport.get_write_buffer_size()
            if unsent < self._unsent_bytes:
                self._unsent_bytes = unsent
                self._stalled_since = now
            elif now - self._stalled_since >= limits.send_stall_s:
                self.abort(f"{self.remote} has read nothing for {limits.send_stall_s:g} s")
                return
        elif self._pinged_at > self._last_received:
            # Counted from the ping, because silence before it proves nothing if this process was suspended.
            if now - self._pinged_at >= limits.dead_after_s - limits.ping_interval_s:
                self.abort(f"no sign of life from {self.remote} for {limits.dead_after_s:g} s")
                return
        elif now - self._last_received >= limits.ping_interval_s and self._ws.state is OPEN:
            self._pinged_at = now
            self._ws.send_ping(b"")
            self._write(self._ws.data_to_send())
        self._arm_timer()
