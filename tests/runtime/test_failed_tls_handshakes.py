"""Connections whose TLS handshake fails leave nothing behind, even if the garbage collector does not run."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import tracemalloc
from asyncio.sslproto import SSLProtocol
from pathlib import Path

import pytest

from qcore.runtime.interface import TlsServer
from qcore.runtime.listener import TLS_BUFFER_BYTES, Listener, use_small_tls_buffers
from tests.security.certificates import Authority
from tests.transport.support.endpoints import until

_NUMBER = 6


def _context(folder: Path) -> ssl.SSLContext:
    files = Authority(folder).issue("node")
    assert files.cert is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    return context


async def _connect_and_leave(opening: bytes, context: ssl.SSLContext) -> None:
    refused, all_refused = 0, asyncio.Event()

    def count() -> None:
        nonlocal refused
        refused += 1
        if refused == _NUMBER:
            all_refused.set()

    listener = Listener(asyncio.Protocol, count, TlsServer(context, 5.0, 64))
    port = listener.start(["127.0.0.1"], 0)
    try:
        for _ in range(_NUMBER):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(opening)
            writer.close()
        async with asyncio.timeout(20):
            await all_refused.wait()
        await asyncio.sleep(0)
    finally:
        listener.close()


@pytest.mark.parametrize("opening", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"])
def test_failed_tls_handshakes_leave_nothing_behind(opening: bytes, tmp_path: Path) -> None:
    context = _context(tmp_path)
    gc.collect()
    gc.disable()
    try:
        asyncio.run(_connect_and_leave(opening, context))
        left = [each for each in gc.get_objects() if isinstance(each, SSLProtocol)]
    finally:
        gc.enable()
    assert left == []


def test_a_crowd_of_handshakes_is_cut_to_its_bound(tmp_path: Path) -> None:
    """All connections wait before the listener accepts the first, so it accepts several in a turn of the loop."""
    asyncio.run(_open_a_crowd(_context(tmp_path)))


async def _open_a_crowd(context: ssl.SSLContext) -> None:
    crowd, bound, refused = 40, 3, 0

    def count() -> None:
        nonlocal refused
        refused += 1

    listener = Listener(asyncio.Protocol, count, TlsServer(context, 60.0, bound))
    port = listener.start(["127.0.0.1"], 0)
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(crowd)]
    try:
        # One that comes later is accepted after all of them.
        last = socket.create_connection(("127.0.0.1", port))
        clients.append(last)
        await until(lambda: refused == crowd + 1 - bound, "the end of the others", 20)
        held = [each for each in gc.get_objects() if isinstance(each, SSLProtocol)]
        assert len(held) <= bound
        last.setblocking(False)
        with pytest.raises(BlockingIOError):  # the newest are kept
            last.recv(1)
    finally:
        listener.close()
        for each in clients:
            each.close()


def test_the_buffers_of_a_node_process_are_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SSLProtocol, "max_size", SSLProtocol.max_size)
    use_small_tls_buffers()
    context = _context(tmp_path)

    async def held() -> int:
        loop = asyncio.get_running_loop()
        tracemalloc.start()
        try:
            protocol = SSLProtocol(
                loop, asyncio.Protocol(), context, loop.create_future(), server_side=True
            )
            size, _ = tracemalloc.get_traced_memory()
            del protocol
            return size
        finally:
            tracemalloc.stop()

    assert asyncio.run(held()) < 2 * TLS_BUFFER_BYTES
