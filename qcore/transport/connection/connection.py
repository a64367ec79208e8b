"""One WebSocket connection over a plain asyncio transport: frames in, frames out, every wait bounded.

The WebSocket protocol itself is `websockets`' Sans-I/O layer; this module drives it from an
`asyncio.Protocol`, which costs a fraction of the library's coroutine API per message.
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN, SEND_EOF, Event
from websockets.protocol import Protocol as WebSocketProtocol

from qcore.errors import LocalProtocolError, TransportError
from qcore.transport.address import format_address
from qcore.transport.limits import TransportLimits

logger = logging.getLogger("qcore.transport")

#: The library's own log has one line per connection and tracebacks about what peers do wrong: here the
#: side that knows what a connection is for says what there is to say.
library_logger = logging.getLogger("qcore.transport.websockets")
library_logger.setLevel(logging.CRITICAL)

#: Envelopes are put together into array frames of about this size: big enough to make the cost per
#: frame vanish, small enough not to delay a ping behind it.
BATCH_BYTES = 64 * 1024
BATCH_MESSAGES = 256

#: A queue of more than this does not wait for the end of the turn.
FLUSH_BYTES = 256 * 1024

#: What a parsed frame holds beside its data, and a queued envelope beside its text, at most, bytes.
_FRAME_BYTES = 200
_ENVELOPE_BYTES = 64

#: A message sent so soon after the one before waits for the end of the turn, with those that follow.
SAME_BURST_S = 50e-6

#: The longest reason that fits into a close frame, in bytes.
_MAX_REASON_BYTES = 123


def clip_reason(reason: str) -> str:
    """What of a reason fits into a close frame."""
    return reason.encode(errors="replace")[:_MAX_REASON_BYTES].decode(errors="ignore")


def allocated(buffer: bytearray | None) -> int:
    """The memory behind a buffer that grows: up to an eighth more than what is in it."""
    return buffer.__alloc__() if buffer else 0


class Connection(asyncio.Protocol):
    """Base of the two ends of a connection. A subclass does the opening handshake and takes frames.

    Subclasses implement `_handshake_received`, `_frame_received` and `_closed`, and call `_opened`.

    Attributes:
        remote: `host:port` of the other end, once connected.
        batches: whether the other end understands array frames; envelopes queued in one turn of the
            event loop then go out in one frame.
    """

    def __init__(self, ws: WebSocketProtocol, limits: TransportLimits) -> None:
        self.remote = "?"
        self.batches = False
        self._ws = ws
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._open = False
        self._error: TransportError | None = None
        self._closed_here = False
        self._queue: list[bytes] = []
        self._queue_bytes = 0
        self._flush_expected = False
        self._last_flush = -1.0
        self._write_paused = False
        self._read_paused = False
        self._waits = False
        self._reading = True
        self._unsent_bytes = 0
        self._stalled_since = 0.0
        self._last_received = 0.0
        self._pinged_at = -1.0
        self._backlog: list[Event] = []
        self._backlog_bytes = 0
        self._noted_bytes = 0
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
        """When the last bytes came from the other end, by the loop's clock; before the first, when it was opened."""
        return self._last_received

    def send_encoded(self, envelope: bytes) -> None:
        """Send an envelope (JSON): at once, or with others at the end of this turn of the event loop.

        On a connection that is closed already it does nothing.

        Raises:
            qcore.errors.LocalProtocolError: the envelope is larger than a frame may be.
        """
        if len(envelope) > self._limits.max_frame_bytes:
            raise LocalProtocolError(
                f"a message of {len(envelope)} bytes exceeds the limit of a frame, "
                f"{self._limits.max_frame_bytes} bytes"
            )
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
                self._report_held_bytes()
        elif self._write_paused:
            self._report_held_bytes()
        elif not self._flush_expected:
            now = self._loop.time()
            if now - self._last_flush > SAME_BURST_S:
                # The first of what may become a burst does not wait for the rest: a lone message has
                # the shortest way, and a burst costs one frame more.
                self._last_flush = now
                self._flush()
            else:
                self._flush_expected = True
                self._loop.call_soon(self._flush)

    @property
    def limits(self) -> TransportLimits:
        """The limits that it was made with."""
        return self._limits

    def unsent_bytes(self) -> int:
        """Sent by the owner and not yet taken by the operating system."""
        if self._transport is None:
            return 0
        return self._queue_bytes + self._transport.get_write_buffer_size()

    def held_bytes(self) -> int:
        """Sent and not taken, and received and not handled: the memory that it takes, not only the bytes in use."""
        return (
            self.unsent_bytes()
            + _ENVELOPE_BYTES * len(self._queue)
            + allocated(self._ws.reader.buffer)
            + allocated(self._fragments)
            + self._backlog_bytes
        )

    def queued_messages(self) -> int:
        """Envelopes that wait for the end of this turn, or for the other end to read."""
        return len(self._queue)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what is queued, then close; the reason is clipped to what a close frame holds.

        A second call does nothing. The connection is dropped if the other end does not answer in time.
        """
        if not self._can_send():
            return
        self._closed_here = True
        self._write_frames()
        self._ws.send_close(code, clip_reason(reason))
        self._after_protocol_step()

    def abort(self, reason: str) -> None:
        """Drop the connection at once, without a closing handshake."""
        if self._error is None:
            self._error = TransportError(reason)
        self._open = False
        self._discard_queue()
        self._ws.reader.discard()
        if self._transport is not None:
            self._transport.abort()

    # --- for subclasses ---------------------------------------------------------------------------

    def _handshake_received(self, data: bytes) -> None:
        """Bytes that came while the connection was not yet open."""
        raise NotImplementedError

    def _frame_received(self, data: bytes | bytearray, is_text: bool) -> None:
        """A whole data frame (its fragments put together)."""
        raise NotImplementedError

    def _closed(self, error: TransportError | None) -> None:
        """The connection is gone; `error` is None after an orderly close. Called exactly once."""
        raise NotImplementedError

    def _opened(self) -> None:
        """The opening handshake is done."""
        self._open = True
        self._last_received = self._loop.time()
        self._arm_timer()

    def _report_held_bytes(self) -> None:
        """`held_bytes` may have changed."""

    def _must_wait(self, frame: Frame) -> bool:
        """Whether this frame and those behind it must not be delivered now. The subclass goes on with them later."""
        return False

    def _pauses_reading(self) -> bool:
        """Whether to take no further frames while the other end does not read."""
        return False

    # --- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast and not an assertion: uvloop's transports only look like asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        address = transport.get_extra_info("peername")
        if isinstance(address, tuple) and len(address) >= 2:
            self.remote = format_address(str(address[0]), int(address[1]))

    def data_received(self, data: bytes) -> None:
        self._last_received = self._loop.time()
        if self._open:
            self._receive(data)
        elif self._ws.state >= OPEN or self._error is not None:
            # Closing: the library waits for the close frame or the end of the stream; nobody wants other frames.
            if self._error is None:
                self._ws.receive_data(data)
                self._ws.events_received()
                self._after_protocol_step()
                self._report_held_bytes()
        else:
            self._handshake_received(data)

    def eof_received(self) -> None:
        self._ws.receive_eof()
        self._after_protocol_step()
        self._open = False
        # asyncio closes the transport now, but only once it could write what waits.
        self._expect_end()

    def pause_writing(self) -> None:
        self._write_paused = True
        self._stalled_since = self._loop.time()
        if self._transport is not None:
            self._unsent_bytes = self._transport.get_write_buffer_size()
            if self._open and self._pauses_reading() and not self._transport.is_closing():
                self._read_paused = True
                self._pause_or_resume_reading()
            self._report_held_bytes()

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._transport is None or self._transport.is_closing():
            return
        if self._eof_due:
            self._loop.call_soon(self._half_close)  # the transport is in the middle of a write
        self._read_paused = False
        self._pause_or_resume_reading()
        self._flush()
        if self._backlog:
            self._deliver_and_flush()
        self._report_held_bytes()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False
        self._transport = None
        self._discard_queue()
        for timer in (self._timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        self._ws.reader.discard()  # the library's objects refer to each other, and stay for a while
        self._closed(self._reason_of_end(exc))
        # Its traceback leads back to the protocol: without the cycle both go at once.
        self._ws.parser_exc = None

    # --- receiving --------------------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        """Take what came on the open connection."""
        ws = self._ws
        ws.receive_data(data)
        self._deliver_and_flush()
        if ws.reader.buffer or self._noted_bytes or self._backlog or self._fragments is not None:
            self._report_held_bytes()

    def _pause_or_resume_reading(self) -> None:
        """Read from the socket unless the other end does not read, or waits for its turn."""
        reads = not (self._read_paused or self._waits)
        if reads == self._reading or self._transport is None or self._transport.is_closing():
            return
        self._reading = reads
        if reads:
            self._last_received = self._loop.time()
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _deliver_and_flush(self) -> None:
        """Hand over what came; what is sent meanwhile goes out together afterwards."""
        self._flush_expected = True
        self._deliver_frames()
        self._flush()

    def _deliver_frames(self) -> None:
        """Hand over what the protocol has parsed, then write what it wants to say itself."""
        events = self._ws.events_received()
        if self._backlog:
            events, self._backlog = self._backlog + events, []
            self._backlog_bytes = 0
        for number, event in enumerate(events):
            if not self._open:
                break
            if isinstance(event, Frame):
                if self._read_paused or self._must_wait(event):
                    self._backlog = events[number:]
                    self._backlog_bytes = sum(map(_bytes_of, self._backlog))
                    break
                self._deliver(event)
        self._after_protocol_step()

    def _deliver(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if frame.fin:
                self._frame_received(_payload(frame), opcode is Opcode.TEXT)
            else:
                self._fragments = bytearray(frame.data)
                self._fragments_are_text = opcode is Opcode.TEXT
        elif opcode is Opcode.CONT and self._fragments is not None:
            # The library has checked the order of fragments and the size of the whole.
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
        """Whether the protocol takes another frame.

        It may not although the connection is open for its owner: frames that came together with the
        other end's close frame are still being delivered.
        """
        return self._open and self._ws.state is OPEN and self._transport is not None

    def _write_frames(self) -> None:
        """Turn the queue into frames."""
        queue, self._queue = self._queue, []
        self._queue_bytes = 0
        if not self.batches or len(queue) == 1:
            for envelope in queue:
                self._ws.send_text(envelope)
            return
        batch: list[bytes] = []
        size = 0
        for envelope in queue:
            if batch and (size + len(envelope) > BATCH_BYTES or len(batch) == BATCH_MESSAGES):
                self._send_batch(batch)
                batch, size = [], 0
            batch.append(envelope)
            size += len(envelope)
        if batch:
            self._send_batch(batch)

    def _send_batch(self, batch: list[bytes]) -> None:
        self._ws.send_text(batch[0] if len(batch) == 1 else b"[%b]" % b",".join(batch))

    def _write(self, chunks: list[bytes]) -> None:
        """Give the transport what the protocol produced; `SEND_EOF` half-closes."""
        transport = self._transport
        if transport is None or transport.is_closing() or not chunks:
            return
        if len(chunks) == 1 and chunks[0] != SEND_EOF:
            transport.write(chunks[0])
            return
        data = b"".join(chunks)
        if data:
            transport.write(data)
        if chunks[-1] == SEND_EOF and transport.can_write_eof():
            if not transport.get_write_buffer_size():
                self._half_close()
            else:
                # Not `write_eof` yet: what goes wrong there would be an exception in the event loop, seen by nobody.
                self._eof_due = True
                transport.set_write_buffer_limits(
                    high=0
                )  # so `resume_writing` comes when all is written

    def _half_close(self) -> None:
        """Say that no more comes. All that was written must have been taken."""
        self._eof_due = False
        if self._transport is None or self._transport.is_closing():
            return
        try:
            self._transport.write_eof()
        except OSError:  # the other end is gone: it answered what it got last with a reset
            self._transport.abort()

    def _discard_queue(self) -> None:
        self._queue.clear()
        self._queue_bytes = self._backlog_bytes = 0
        self._fragments = None
        self._backlog.clear()

    # --- the end ----------------------------------------------------------------------------------

    def _after_protocol_step(self) -> None:
        """Notice that the protocol wants to end, and write what it produced."""
        if self._ws.state is not OPEN:
            # Before writing: even if that fails, the end comes in time. It is seen by reading, so nothing may wait.
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
            return TransportError(f"closed by {self.remote}: {_close_text(received)}")
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
        """Ping after silence; give up on an end that is dead or does not read."""
        if not self._open or self._transport is None:
            return
        limits = self._limits
        now = self._loop.time()
        if not self._reading:
            self._last_received = now  # nobody looks for its signs of life
        if self._write_paused:
            unsent = self._transport.get_write_buffer_size()
            if unsent < self._unsent_bytes:
                self._unsent_bytes = unsent
                self._stalled_since = now
            elif now - self._stalled_since >= limits.send_stall_s:
                self.abort(f"{self.remote} has read nothing for {limits.send_stall_s:g} s")
                return
        elif self._pinged_at > self._last_received:
            # Counted from the ping: had this process itself been suspended, silence would prove nothing.
            if now - self._pinged_at >= limits.dead_after_s - limits.ping_interval_s:
                self.abort(f"no sign of life from {self.remote} for {limits.dead_after_s:g} s")
                return
        elif now - self._last_received >= limits.ping_interval_s and self._ws.state is OPEN:
            self._pinged_at = now
            self._ws.send_ping(b"")
            self._write(self._ws.data_to_send())
        self._arm_timer()


def _payload(frame: Frame) -> bytes | bytearray:
    # A memoryview occurs only for compressed frames that are sent.
    return frame.data if isinstance(frame.data, bytes | bytearray) else bytes(frame.data)


def _bytes_of(event: Event) -> int:
    return len(event.data) + _FRAME_BYTES if isinstance(event, Frame) else 0


def _close_text(close: Close) -> str:
    return f"{int(close.code)} {close.reason}".rstrip()
