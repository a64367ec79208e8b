"""`SimTransport`: an asyncio transport on one end of a simulated TCP connection.

It does what the transports of asyncio for sockets do: the same calls of the protocol, in the same order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final, cast

from qcore.sim.world.hosts.host_loop import HostLoop
from qcore.sim.world.hosts.tcp_endpoint import TcpEndpoint

#: The most bytes of one read, as in asyncio.
READ_BYTES: Final = 256 * 1024
#: Beyond this many bytes that the kernel does not accept, the protocol is to pause; as in asyncio.
_HIGH_WATER_BYTES: Final = 64 * 1024

#: An address of a socket.
SocketAddress = tuple[str, int]


class SimTransport(asyncio.Transport):
    """Carries the bytes of a protocol.

    Args:
        loop: the event loop of the process.
        endpoint: the connection, which is open.
        protocol: what the connection is for. Its `connection_made` is called in the next turn.
        local, remote: the addresses of the two ends.
    """

    def __init__(
        self,
        loop: HostLoop,
        endpoint: TcpEndpoint,
        protocol: asyncio.BaseProtocol,
        local: SocketAddress,
        remote: SocketAddress,
    ) -> None:
        super().__init__({"peername": remote, "sockname": local, "endpoint": endpoint})
        self._sim_loop = loop
        self._endpoint = endpoint
        self._buffer = bytearray()
        self._high = _HIGH_WATER_BYTES
        self._low = _HIGH_WATER_BYTES // 4
        self._is_paused = False  # reading
        self._writing_paused = False
        self._is_closing = False
        self._is_over = False
        self._eof_due = False
        self._read_handle = asyncio.Handle(self._read_ready, (), loop)
        self._write_handle = asyncio.Handle(self._write_ready, (), loop)
        self.set_protocol(protocol)
        loop.call_soon(protocol.connection_made, self)
        loop.call_soon(self._start)

    def _start(self) -> None:
        if self._is_over:
            return
        self._endpoint.on_readable = self._readable
        self._endpoint.on_writable = self._writable
        if self._endpoint.is_readable:
            self._readable()

    # -- asyncio.BaseTransport ------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See `asyncio.BaseTransport`."""
        self._protocol = cast(
            asyncio.Protocol, protocol
        )  # qcore's connections only have its methods

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See `asyncio.BaseTransport`."""
        return self._protocol

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._is_closing

    def close(self) -> None:
        """Send what waits, then close."""
        if self._is_closing:
            return
        self._is_closing = True
        self._read_handle.cancel()
        if not self._buffer:
            self._end(None)

    def unacknowledged_bytes(self) -> int:
        """The bytes that the kernel has accepted and the other end has not acknowledged."""
        return self._endpoint.sender.unacknowledged

    # -- reading --------------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """See `asyncio.ReadTransport`."""
        return not (self._is_closing or self._is_paused)

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._is_paused = True

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        if not self._is_paused:
            return
        self._is_paused = False
        if self._endpoint.is_readable:
            self._readable()

    def _readable(self) -> None:
        if not (self._is_paused or self._is_closing):
            self._sim_loop.signal(self._read_handle)

    def _read_ready(self) -> None:
        if self._is_paused or self._is_closing:
            return
        try:
            data = self._endpoint.read(READ_BYTES)
        except OSError as error:
            self._break(error)
            return
        if data is None:
            return
        self._sim_loop.spend_on_bytes(len(data))
        try:
            if data:
                self._protocol.data_received(data)
            elif self._protocol.eof_received():
                self._is_paused = (
                    True  # the other end sends nothing more; the process may still write
                )
            else:
                self.close()
        except Exception as error:  # noqa: BLE001  # as in asyncio: a fault of the protocol ends its connection
            self._protocol_failed(error)
            return
        if self._endpoint.is_readable:
            self._readable()

    # -- writing --------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `asyncio.WriteTransport`."""
        if self._eof_due:
            raise RuntimeError("cannot write after the end of the stream")
        if not data or self._is_over:
            return
        if not self._buffer:
            self._sim_loop.spend_on_bytes(len(data))
            try:
                accepted = self._endpoint.write(data)
            except OSError as error:
                self._break(error)
                return
            data = data[accepted:]
        self._buffer += data
        self._pause_if_full()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """See `asyncio.WriteTransport`."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """True."""
        return True

    def write_eof(self) -> None:
        """See `asyncio.WriteTransport`."""
        if self._is_closing or self._eof_due:
            return
        self._eof_due = True
        if not self._buffer:
            self._endpoint.end()

    def abort(self) -> None:
        """Drop what the kernel has not accepted, and close."""
        self._force_close(None)

    def get_write_buffer_size(self) -> int:
        """The bytes that the kernel has not accepted."""
        return len(self._buffer)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See `asyncio.WriteTransport`."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport`."""
        if high is None:
            high = _HIGH_WATER_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must not be below low ({low}), and low not below 0")
        self._high, self._low = high, low
        self._pause_if_full()

    def _pause_if_full(self) -> None:
        if len(self._buffer) > self._high and not self._writing_paused:
            self._writing_paused = True
            self._call_protocol(self._protocol.pause_writing)

    def _resume_if_room(self) -> None:
        if self._writing_paused and len(self._buffer) <= self._low:
            self._writing_paused = False
            self._call_protocol(self._protocol.resume_writing)

    def _writable(self) -> None:
        if not self._is_over:
            self._sim_loop.signal(self._write_handle)

    def _write_ready(self) -> None:
        if self._is_over or not self._buffer:
            return
        try:
            accepted = self._endpoint.write(self._buffer)
        except OSError as error:
            self._break(error)
            return
        self._sim_loop.spend_on_bytes(accepted)
        del self._buffer[:accepted]
        self._resume_if_room()
        if not self._buffer and not self._is_over:
            if self._is_closing:
                self._end(None)
            elif self._eof_due:
                self._endpoint.end()

    # -- the end --------------------------------------------------------------------------------------

    def _call_protocol(self, call: Any) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001  # as in asyncio: it is reported, and the connection goes on
            self._sim_loop.on_error(0, error, "a protocol")

    def _protocol_failed(self, error: Exception) -> None:
        self._sim_loop.on_error(0, error, "a protocol")
        self._force_close(error)

    def _break(self, error: OSError) -> None:
        self._force_close(error)

    def _force_close(self, error: Exception | None) -> None:
        if self._is_over:
            return
        self._buffer.clear()
        self._is_closing = True
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        """Report the end in the next turn, and close the socket then."""
        self._is_over = True
        self._read_handle.cancel()
        self._write_handle.cancel()
        self._sim_loop.call_soon(self._call_connection_lost, error)

    def _call_connection_lost(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._endpoint.close()
