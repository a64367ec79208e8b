"""`SendingEnd`: what a connection does to send. Its queue is bounded."""

from __future__ import annotations

import asyncio

from websockets.protocol import OPEN, SEND_EOF
from websockets.protocol import Protocol as WebSocketProtocol

from qcore.transport.connection.framing import batch_envelopes, check_size
from qcore.transport.connection.held_sends import HeldSends
from qcore.transport.connection.text_frames import text_frame
from qcore.transport.limits import TransportLimits

#: A larger queue does not wait for the end of the turn, bytes.
FLUSH_BYTES = 256 * 1024

#: A message sent this soon after the previous one waits for the end of the turn, together with those that follow.
SAME_BURST_S = 50e-6


class SendingEnd:
    """The part of a `Connection` that sends.

    It has the methods of an `asyncio.Protocol`, and is none by name: a compiled class has no interpreted base.

    Attributes:
        remote: `host:port` of the other end, once connected.
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
        self._max_frame_bytes = limits.max_frame_bytes
        self._held = HeldSends()  # a node's connections share the node's
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._transport: asyncio.Transport | None = None
        self._open = False
        self._masks = False
        self._queue: list[bytes] = []
        self._queue_bytes = 0
        self._flush_expected = self._write_paused = self._eof_due = False
        self._last_flush = -1.0

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent and received."""
        return self._open

    def send_encoded(self, envelope: bytes) -> None:
        """Send an envelope (JSON), now or together with others at the end of this turn of the event loop.

        Does nothing on a closed connection.

        Raises:
            qcore.errors.LocalProtocolError: the envelope is larger than a frame may be.
        """
        if self.unanswered:  # a server sends only responses to a client
            self.unanswered -= 1
        size = len(envelope)
        if size > self._max_frame_bytes:
            check_size(envelope, self._max_frame_bytes)
        if not self._open:
            return
        self._queue.append(envelope)
        self._queue_bytes += size
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
        elif self._flush_expected:
            pass
        elif self._held.active:
            self._flush_expected = True
            self._held.waiting.append(self._flush)
        else:
            now = self._time()
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

    def abort(self, reason: str) -> None:
        """Drop the connection immediately, without a closing handshake."""
        raise NotImplementedError

    def report_held_bytes(self) -> None:
        """Called when `held_bytes` may have changed."""

    def _flush(self) -> None:
        self._flush_expected = False
        if not self._write_paused and self._open and self._ws.state is OPEN:
            self._write_queue()

    def _can_send(self) -> bool:
        """Whether the protocol accepts another frame.

        Sometimes it does not, although the connection is still open for its owner: while frames are delivered that
        arrived together with the other end's close frame.
        """
        return self._open and self._ws.state is OPEN and self._transport is not None

    def _write_queue(self) -> None:
        """Write the protocol's output, and the queued envelopes as frames. The protocol must be open."""
        texts, transport = self._queue, self._transport
        if not texts or transport is None:
            return
        self._queue = []
        self._queue_bytes = 0
        if len(texts) == 1 and not self._ws.writes:
            if not transport.is_closing():
                text = texts[0]
                transport.write(self._masked(text) if self._masks else text_frame(text))
            return
        if self.batches:
            texts = batch_envelopes(texts)
        chunks = self._ws.data_to_send()
        for text in texts:
            chunks.append(self._masked(text) if self._masks else text_frame(text))
        self._write(chunks)

    def _masked(self, text: bytes) -> bytes:
        """The frame of a text, as a client sends it. Called if `_masks`."""
        raise NotImplementedError

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
