"""`Connection`: one end of a WebSocket connection on an asyncio transport. Every wait and every queue is bounded.

The WebSocket protocol itself is the sans-I/O layer of the library `websockets`. This module drives it from an
protocol of asyncio, which costs a fraction of the library's coroutine API per message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol, cast

from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, SERVER, Event
from websockets.protocol import Protocol as WebSocketProtocol

from qcore.errors import TransportError
from qcore.transport.address import Address
from qcore.transport.connection.framing import (
    allocated,
    clip_reason,
    memory_of,
)
from qcore.transport.connection.reason_of_end import reason_of_end
from qcore.transport.connection.sending_end import SendingEnd
from qcore.transport.connection.text_frames import take_texts
from qcore.transport.limits import TransportLimits

logger = logging.getLogger("qcore.transport")

#: The library logs a line for each connection, and a traceback for each error of the other end. This logger drops both:
#: the owner of a connection logs what matters.
library_logger = logging.getLogger("qcore.transport.websockets")
library_logger.setLevel(logging.CRITICAL)

#: The memory of a queued envelope besides its text, at most, bytes.
_ENVELOPE_BYTES = 64


#: The most bytes of one read, for which asyncio allocates a buffer each time. Its own choice, 256 KiB, makes the system
#: map and unmap memory for each read, which takes five times as long as the rest of it. The C library does so from
#: 128 KiB on. This is enough for an array frame of `BATCH_BYTES`.
READ_BYTES = 96 * 1024


class _ReadsInParts(Protocol):
    max_size: int


class Connection(SendingEnd):
    """Base class of both ends of a connection. A subclass does the opening handshake and handles frames.

    Subclasses implement `_handshake_received`, `_frame_received` and `_closed`, and call `_opened`.

    Attributes:
        local: `host:port` of this end, once connected.
    """

    def __init__(self, ws: WebSocketProtocol, limits: TransportLimits) -> None:
        super().__init__(ws, limits)
        self._is_server = ws.side is SERVER
        self._error: TransportError | None = None
        self._closed_here = False
        self._unsent_bytes = 0
        self._read_paused = self._waits = self._takes_turns = False
        self._reading = True
        self._pinged_at = -1.0
        self._stalled_since = self._last_received = 0.0
        self._backlog: list[Event] = []
        self._backlog_bytes = self._reported_bytes = 0
        self._fragments: bytearray | None = None
        self._fragments_are_text = True
        self._timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None

    # --- for the owner ----------------------------------------------------------------------------

    @property
    def last_received(self) -> float:
        """When the last bytes arrived or, if none did, when the connection was opened; by the event loop's clock."""
        return self._last_received

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
        self._write_queue()
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

    def _must_wait(self, size: int, fin: bool) -> bool:
        """Whether this frame and all later ones must wait. Called if `_takes_turns`; the subclass resumes delivery."""
        return False

    def _receive_in_turn(self, data: bytes) -> None:
        """As `_receive`, with regard to other connections. Called if `_takes_turns`."""

    def _pauses_reading(self) -> bool:
        """Whether to stop handling frames while the other end does not read."""
        return False

    # --- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not an assertion: uvloop's transports do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        if hasattr(transport, "max_size"):  # neither uvloop's nor those of TLS
            cast(_ReadsInParts, transport).max_size = READ_BYTES
        address = transport.get_extra_info("peername")
        if isinstance(address, tuple) and len(address) >= 2:
            self.remote = str(Address(str(address[0]), int(address[1])))

    def data_received(self, data: bytes) -> None:
        self._last_received = self._time()
        if self._open:
            if self._takes_turns or self._waits:
                self._receive_in_turn(data)
            else:
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
        ws = self._ws
        ws.reader.discard()
        reason = self._error or reason_of_end(self.remote, ws, exc, closed_here=self._closed_here)
        self._closed(reason)
        # The traceback refers to the protocol. Break this cycle, so both are freed now.
        ws.parser_exc = None

    # --- receiving --------------------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        """Handle bytes that arrived on the open connection."""
        ws = self._ws
        if self._backlog or self._fragments is not None or ws.reader.buffer:
            ws.receive_data(data)
            self._deliver_frames()
        else:
            texts, used = take_texts(data, self._is_server, ws.max_message_size)
            if used < len(data):
                ws.receive_data(data[used:])
            self._deliver_frames(texts)
        if self._reported_bytes or self._backlog or ws.reader.buffer or self._fragments is not None:
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

    def _deliver_frames(self, texts: Sequence[bytes] = ()) -> None:
        """Deliver texts, then the frames that the protocol has parsed.

        Then write the protocol's answers (pong, close) and all messages sent meanwhile, together.
        """
        self._flush_expected = True
        for number, text in enumerate(texts):
            if not self._open:
                break
            if (
                self._read_paused
                or self._waits
                or (self._takes_turns and self._must_wait(len(text), True))
            ):
                self._backlog = [Frame(Opcode.TEXT, each) for each in texts[number:]]
                break
            self._frame_received(text, True)
        if self._ws.events or self._backlog:
            self._deliver_events()
        self._flush_expected = False
        if self._ws.state is not OPEN:
            self._after_protocol_step()
        elif self._queue and self._open and not self._write_paused:
            self._write_queue()
        elif self._ws.writes:
            self._write(self._ws.data_to_send())

    def _deliver_events(self) -> None:
        events = self._backlog + self._ws.events_received()
        self._backlog = []
        self._backlog_bytes = 0
        for number, event in enumerate(events):
            if not self._open:
                break
            if not isinstance(event, Frame):
                continue
            if (
                self._read_paused
                or self._waits
                or (self._takes_turns and self._must_wait(len(event.data), event.fin))
            ):
                self._backlog = events[number:]
                self._backlog_bytes = sum(map(memory_of, self._backlog))
                break
            self._deliver(event)

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
